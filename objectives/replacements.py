"""What objectives with a generator share: its options, the hidden tokens, and scores of telling copies apart."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.composites import TIES, narrower
from cloze.objectives.base import Objective, Term, check_share
from cloze.objectives.losses import classification_terms, cross_entropy
from cloze.objectives.masked_lm import MaskedLM


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Generated(Objective):
    """A generator learns masked language modelling; the main model reads a draw from its answers.

    Attributes:
        masked: MaskedLM, which hides tokens.
        generator_width, generator_layers: shares of the main model's.
        tie: what both models share, see models.composites.GeneratorPair.
    """

    architectures = ("encoder",)
    masked: Any
    generator_width: float
    generator_layers: float
    tie: str

    @classmethod
    def shared(cls, config, tables, model_config):
        """Checked values of these fields, and of `rows`, which are those of masked_lm without pairs."""
        masked = _build_masked(config, tables, model_config)
        options = ("generator_width", "generator_layers", "tie")
        return dict(masked=masked, rows=masked.rows, **{option: config.objective[option] for option in options})

    def generator(self, model_config):
        """The generator's ModelConfig from that of the main model."""
        return narrower(model_config, self.generator_width, self.generator_layers)

    def hide(self, key, row):
        """One row of masked language modelling with `sample_key` uint32 [2], from which the generator draws.

        The key is part of the batch, so that draws depend neither on microbatches nor on the mesh.
        """
        mask_key, sample_key = jax.random.split(key)
        return self.masked.corrupt_row(mask_key, row) | {"sample_key": jax.random.key_data(sample_key)}

    def generator_terms(self, outputs, batch, **options):
        """Terms "mlm" and "mlm_accuracy"; options are those of `objectives.losses.cross_entropy`."""
        targets, used = batch["targets"], batch["target_weights"]
        return classification_terms(outputs.generator_logits, targets, used, ("mlm", "mlm_accuracy"), **options)


def _build_masked(config, tables, model_config):
    objective = config.objective
    if objective.pairs != "none":
        raise ConfigError(
            f"objective.pairs={objective.pairs} does not go with objective.name={objective.name}, which has no "
            "classifier of pairs: set objective.pairs=none"
        )
    if objective.static_masks:
        raise ConfigError(
            f"objective.static_masks={objective.static_masks} does not go with objective.name={objective.name}, whose "
            "generator draws anew each time: set objective.static_masks=0"
        )
    check_share("objective.generator_width", objective.generator_width, one=True)
    check_share("objective.generator_layers", objective.generator_layers, one=True)
    if objective.tie not in TIES:
        raise ConfigError(f"objective.tie={objective.tie!r} is not one of {', '.join(TIES)}")
    if objective.tie == "all" and (objective.generator_width, objective.generator_layers) != (1, 1):
        raise ConfigError(
            f"objective.tie=all shares whole layers, so the generator must be as large as the model: set "
            f"objective.generator_width=1 (now {objective.generator_width}) and objective.generator_layers=1 (now "
            f"{objective.generator_layers}), or objective.tie=embeddings"
        )
    if not objective.discriminator_weight >= 0:
        raise ConfigError(f"objective.discriminator_weight={objective.discriminator_weight} must be 0 or more")
    return MaskedLM.build(config, tables, model_config)


def check_likelihood(config, what):
    """Refuses label smoothing and z-loss for `what`, whose loss is the likelihood of a mixture.

    Raises:
        ConfigError: names both options.
    """
    objective = config.objective
    if objective.label_smoothing or objective.z_loss:
        raise ConfigError(
            f"objective.label_smoothing={objective.label_smoothing} and objective.z_loss={objective.z_loss}: {what} is "
            "scored by the likelihood of copying or writing a token, which has neither; set both to 0"
        )


def real_tokens(batch):
    """f32 [B, T], 1 where a token is not padding."""
    segments = batch.get("segments")
    return jnp.ones(batch["tokens"].shape) if segments is None else (segments > 0).astype(jnp.float32)


def binary_terms(logits, labels, weights, coefficient, name):
    """The weighted binary cross-entropy and the share of right answers.

    Args:
        logits: f32 [...], positive for yes.
        labels: bool [...].
        weights: f32 [...], from the batch alone.
        coefficient: of the loss.
        name: of the loss; the metric is `name`_accuracy.
    """
    weight = jnp.sum(weights)
    losses = jax.nn.softplus(jnp.where(labels, -logits, logits))
    right = (logits > 0) == labels
    return {
        name: Term(jnp.sum(losses * weights), weight, coefficient),
        f"{name}_accuracy": Term(jnp.sum(right * weights), weight, 0.0),
    }


def found_terms(logits, labels, weights):
    """Metrics of a rare yes: its share, and precision and recall of finding it.

    A metric may be weighted by what the model answered, as its weight enters no gradient.
    """
    yes, said = labels * weights, (logits > 0) * weights
    both = jnp.sum(labels * said)
    return {
        "replaced": Term(jnp.sum(yes), jnp.sum(weights), 0.0),
        "replaced_precision": Term(both, jnp.sum(said), 0.0),
        "replaced_recall": Term(both, jnp.sum(yes), 0.0),
    }


def copying_loss(logits_V, copy_logits, inputs, targets):
    """-log p of a mixture: p(x) = c * [x is the input] + (1 - c) * softmax(logits)[x] (Meng et al. 2021, equation 2).

    Args:
        logits_V: f32 [..., V].
        copy_logits: f32 [...], c is their sigmoid.
        inputs, targets: int32 [...].

    Returns:
        f32 [...].
    """
    written = jax.nn.log_sigmoid(-copy_logits) - cross_entropy(logits_V, targets)
    copied = jnp.logaddexp(jax.nn.log_sigmoid(copy_logits), written)
    return -jnp.where(inputs == targets, copied, written)
