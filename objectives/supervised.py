"""Supervised learning from labelled examples, with a language model's loss beside it where asked.

Heads as in Devlin et al. 2019, section 4, and Radford et al. 2018, sections 3.2 and 3.3. Additional dimensions in names
of arrays: E examples of a packed row, C choices.
"""

import dataclasses

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives import frames
from cloze.objectives.base import OBJECTIVES, Term
from cloze.objectives.losses import TokenLoss, classification_terms, is_top
from cloze.options import option

HEADS = {  # task.kind: the head that answers it
    "class": "class",
    "regression": "class",
    "tag": "tag",
    "span": "span",
    "choice": "choice",
}
FEWEST_LABELS = {"class": 2, "tag": 2}


@OBJECTIVES.register("supervised")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Supervised(frames.Labelled, TokenLoss):
    """The labels of a task's examples. Label smoothing and z-loss are of these.

    Attributes:
        kind: one of HEADS.
    """

    architectures = ("encoder", "decoder", "encoder_decoder", "recurrent", "bidirectional_recurrent")
    kinds = tuple(HEADS)
    otherwise = "responses for text"
    lm_weight: float = option(0.0, "coefficient of the next-token loss beside a classifier's (GPT-1: 0.5)", least=0)
    kind: str

    def __post_init__(self):
        super().__post_init__()
        if self.kind == "regression" and (self.label_smoothing or self.z_loss):
            raise ConfigError(
                f"objective.label_smoothing={self.label_smoothing} and objective.z_loss={self.z_loss} do not go with "
                "task.kind=regression, which does not read them; leave both at 0.0"
            )

    @classmethod
    def plain_fields(cls, config, tables, model_config):
        """Those of examples, and `kind`."""
        return super().plain_fields(config, tables, model_config) | dict(kind=config.task.kind)

    @property
    def outputs(self):
        """The head of the kind, and that over the vocabulary where it is scored."""
        return (HEADS[self.kind], "lm") if self.lm_weight else (HEADS[self.kind],)

    def check_fit(self, config, tables, model_config):
        """The model must have the heads, the direction and the number of labels that the examples need."""
        super().check_fit(config, tables, model_config)
        _check_model(config, model_config)

    def corrupt_row(self, key, row):
        """The row as it is, and with a language model `targets` and `target_weights` [T]: the next token of a text."""
        batch = super().corrupt_row(key, row)
        if "lm" in self.outputs:
            after = [(0, 0)] * (row["tokens"].ndim - 1) + [(0, 1)]
            ahead = {name: jnp.pad(row[name][..., 1:], after) for name in ("tokens", "segments")}
            same = (ahead["segments"] == row["segments"]) & (row["segments"] > 0)
            batch |= {"targets": ahead["tokens"], "target_weights": same.astype(jnp.float32)}
        return batch

    def loss(self, outputs, batch):
        """A term of the kind's name and a metric: "accuracy" over examples, or tokens of kind tag (of spans, both ends
        are right). Of numbers "regression" is the squared error, and there is no metric. With a language model "lm" and
        "lm_accuracy" over tokens, too."""
        smooth = dict(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        logits = outputs.heads[HEADS[self.kind]]
        if self.kind == "regression":
            terms = _squared_error(logits[..., 0], batch)
        elif self.kind == "span":
            terms = _span_terms(logits, batch, **smooth)
        elif self.kind == "choice":
            terms = _choice_terms(logits, batch, **smooth)
        else:
            names = (self.kind, "accuracy")
            terms = classification_terms(logits, batch["labels"], batch["label_weights"], names, **smooth)
        if "lm" in self.outputs:
            logits, names = outputs.over_vocabulary("lm"), ("lm", "lm_accuracy")
            lm = classification_terms(logits, batch["targets"], batch["target_weights"], names)
            terms |= {name: term._replace(coefficient=self.lm_weight * term.coefficient) for name, term in lm.items()}
        return terms


def _check_model(config, model_config):
    """Refuses a model without the heads, the direction or the number of labels that the examples need."""
    task, weight, architecture = config.task, config.objective.lm_weight, model_config.architecture
    what = f"model.family={config.model.family} is of architecture {architecture}"
    if architecture.endswith("recurrent") and HEADS[task.kind] != "class":
        raise ConfigError(
            f"task.kind={task.kind} needs a transformer, but {what}: set model.family to one, or task.kind=class"
        )
    if weight and architecture not in frames.LEFT_TO_RIGHT:
        raise ConfigError(
            f"objective.lm_weight={weight} needs a model that reads from left to right, but {what}: set "
            "objective.lm_weight=0"
        )
    if task.both_orders and task.kind not in ("class", "regression"):
        raise ConfigError(f"task.both_orders is for pairs with one label, not for task.kind={task.kind}: set it False")
    if HEADS[task.kind] in ("class", "choice", "span") and architecture in ("decoder", "recurrent", "encoder_decoder"):
        if model_config.pooling == "first":
            raise ConfigError(f"model.pooling=first: {what}, whose first token has read nothing; set it to last")
    fewest = FEWEST_LABELS.get(task.kind, 1)
    if model_config.num_labels < fewest or (task.kind == "regression" and model_config.num_labels > 1):
        wanted = "must be at least 2 to classify" if fewest == 2 else "must be 1, the number that is learned"
        raise ConfigError(f"model.num_labels={model_config.num_labels} {wanted} (task.kind={task.kind})")


def masked_cross_entropy(logits_V, valid_V, targets, *, label_smoothing=0.0, z_loss=0.0):
    """As `cross_entropy`, of a softmax over some of the logits.

    Args:
        logits_V: float [..., V].
        valid_V: bool [..., V], what the softmax is over; where there is nothing, over all.
        targets: int [...], of which each is valid.
        label_smoothing: spread over what is valid.
        z_loss: see `cross_entropy`.

    Returns:
        f32 [...].
    """
    valid_V = valid_V | ~jnp.any(valid_V, axis=-1, keepdims=True)
    x_V = jnp.where(valid_V, logits_V.astype(jnp.float32), -1e30)  # finite: an infinity has no gradient
    log_z = jax.nn.logsumexp(x_V, axis=-1)
    expected = jnp.take_along_axis(x_V, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        mean = jnp.sum(jnp.where(valid_V, x_V, 0.0), axis=-1) / jnp.sum(valid_V, axis=-1)
        expected = (1 - label_smoothing) * expected + label_smoothing * mean
    return log_z - expected + (z_loss * jnp.square(log_z) if z_loss else 0.0)


def _squared_error(numbers, batch):
    weights = batch["label_weights"]
    error = jnp.square(numbers.astype(jnp.float32) - batch["labels"])
    return {"regression": Term(jnp.sum(error * weights), jnp.sum(weights), 1.0)}


def _span_terms(logits_BT2, batch, **smooth):
    """The mean of the cross-entropies of start and end over the tokens of the example (Devlin et al. 2019, 4.2)."""
    labels, weights, segments_BT = batch["labels"], batch["label_weights"], batch["segments"]
    if labels.ndim == 2:  # an example a row
        labels, weights = labels[:, None], weights[:, None]
    number_E = jnp.arange(1, labels.shape[1] + 1)
    inside_BET = segments_BT[:, None, :] == number_E[None, :, None]
    total, right = 0.0, True
    for end in range(2):
        logits_BET = jnp.broadcast_to(logits_BT2[:, None, :, end], inside_BET.shape)
        losses, top = _among(logits_BET, inside_BET, labels[..., end], **smooth)
        total, right = total + losses / 2, right & top
    return _terms("span", total, right, weights)


def _choice_terms(logits_BC, batch, **smooth):
    """The cross-entropy over the choices that an example has."""
    weights_BC = batch.get("choice_weights", jnp.ones_like(logits_BC))
    losses, right = _among(logits_BC, weights_BC > 0, batch["labels"], **smooth)
    return _terms("choice", losses, right, batch["label_weights"])


def _among(logits_V, valid_V, targets, **smooth):
    """(cross-entropy f32 [...], whether the target is the highest bool [...]) of targets among what is valid."""
    losses = masked_cross_entropy(logits_V, valid_V, targets, **smooth)
    lowest = jnp.finfo(logits_V.dtype).min
    return losses, is_top(jax.lax.stop_gradient(jnp.where(valid_V, logits_V, lowest)), targets)


def _terms(name, losses, right, weights):
    weight = jnp.sum(weights)
    return {
        name: Term(jnp.sum(losses * weights), weight, 1.0),
        "accuracy": Term(jnp.sum(right * weights), weight, 0.0),
    }
