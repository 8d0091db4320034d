"""Vectors of texts that belong together are made alike, and unlike those of all other texts of the step.

The multiple-negatives ranking loss (Henderson et al. 2017, arXiv:1705.00652, section 4.4) over cosines that are divided
by a temperature, with hard negatives where examples have them (Gao et al. 2021, SimCSE, arXiv:2104.08821, sections 3
and 4); over prefixes of the vectors, too (Kusupati et al. 2022, arXiv:2205.13147, section 3). Dimensions in names of
arrays: C texts of an example (anchor, positive, negatives), N texts that an anchor is compared with.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError, DataError
from cloze.objectives import frames
from cloze.objectives.base import OBJECTIVES, Term
from cloze.objectives.losses import is_top
from cloze.options import option

RATES = ("dropout", "attention_dropout", "activation_dropout", "final_dropout")
NOT_COMPARED = -1e9  # far below any score, yet finite, so that a batch with nothing to compare gives 0 and not NaN


@OBJECTIVES.register("contrastive")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Contrastive(frames.Labelled):
    """Each anchor finds its positive among the positives and hard negatives of the whole step.

    A text that equals an anchor or its positive is no negative of it. An example whose two texts are the same is
    unsupervised SimCSE: its vectors differ by dropout alone.

    Attributes:
        draws: whether the model has dropout.
        width: of its vectors.
    """

    architectures = ("encoder", "decoder")
    kinds = ("embedding",)
    otherwise = "supervised for labels"
    outputs = ("embedding",)
    whole_batch = True
    compared = "embedding"
    temperature: float = option(0.05, "cosines are divided by it", above=0, below=math.inf)
    symmetric: bool = option(False, "each positive finds its anchor, too; the mean of both losses")
    matryoshka_sizes: tuple[int, ...] = option(
        (), "the loss is the mean over vectors cut to these sizes; empty: whole vectors alone", least=1
    )
    matryoshka_weights: tuple[float, ...] = option(
        (), "what the loss of each of matryoshka_sizes counts; empty: all the same", above=0, below=math.inf
    )
    draws: bool = True
    width: int = 0

    @classmethod
    def plain_fields(cls, config, tables, model_config):
        """Those of examples, and what is known of the model."""
        draws = any(getattr(model_config, rate) > 0 for rate in RATES)
        return super().plain_fields(config, tables, model_config) | dict(draws=draws, width=model_config.width)

    def check_fit(self, config, tables, model_config):
        """The sizes must be those of prefixes, and the pooled state must have read the text."""
        super().check_fit(config, tables, model_config)
        self._check_sizes()
        _check_pooling(config, model_config)
        if config.finetune.dp_clip_norm:
            raise ConfigError(
                f"finetune.dp_clip_norm={config.finetune.dp_clip_norm}: private training takes gradients of single "
                "examples, and objective.name=contrastive compares them with each other; set it to 0"
            )

    def _check_sizes(self):
        sizes, weights = self.matryoshka_sizes, self.matryoshka_weights
        if sizes and (max(sizes) > self.width or len(set(sizes)) < len(sizes)):
            raise ConfigError(
                f"objective.matryoshka_sizes={sizes} must differ and be at most model.width={self.width}, as they are "
                "sizes of prefixes of the vectors"
            )
        if weights and len(weights) != len(sizes):
            raise ConfigError(
                f"objective.matryoshka_weights={weights} has {len(weights)} numbers, matryoshka_sizes={sizes} has "
                f"{len(sizes)}: give one weight for each size, or none"
            )

    def check_rows(self, batches):
        """Without dropout, an anchor that is its own positive teaches nothing."""
        if self.draws:
            return
        ids_BC = np.asarray(text_ids(batches(0)["tokens"]))
        if (ids_BC[:, 0] == ids_BC[:, 1]).all():
            raise DataError(
                "each positive is its anchor, and the model has no dropout, so that their vectors are equal and "
                "nothing is learned: give examples other positives, or set model.dropout=0.1"
            )

    def loss(self, outputs, batch):
        """Term "contrastive" and metric "accuracy", how often the positive is nearest; of several sizes one pair of
        each, "contrastive_64" and "accuracy_64"."""
        vectors_BCD, weights_BC = outputs.heads["embedding"], batch["choice_weights"]
        forward, backward = comparisons(text_ids(batch["tokens"]), weights_BC)
        sizes = self.matryoshka_sizes or (vectors_BCD.shape[-1],)
        shares = np.array(self.matryoshka_weights or (1.0,) * len(sizes))
        terms = {}
        for size, share in zip(sizes, (shares / shares.sum()).tolist(), strict=True):
            scores = self._scores(vectors_BCD[..., :size])
            name = f"_{size}" if self.matryoshka_sizes else ""
            losses, right = _among(scores, forward)
            if self.symmetric:
                losses = (losses + _among(scores[:, : len(scores)].T, backward)[0]) / 2
            anchors_B = weights_BC[:, 0]
            weight = jnp.sum(anchors_B)
            terms[f"contrastive{name}"] = Term(jnp.sum(losses * anchors_B), weight, share)
            terms[f"accuracy{name}"] = Term(jnp.sum(right * anchors_B), weight, 0.0)
        return terms

    def _scores(self, vectors_BCD):
        """f32 [B, N] of anchors with all positives, then all first negatives, and so on."""
        unit_BCD = normalised(vectors_BCD)
        others_ND = jnp.swapaxes(unit_BCD[:, 1:], 0, 1).reshape(-1, unit_BCD.shape[-1])
        return unit_BCD[:, 0] @ others_ND.T / self.temperature


def normalised(vectors):
    """f32 [..., D] of length 1; a vector of zeros stays one."""
    vectors = vectors.astype(jnp.float32)
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))


def text_ids(tokens):
    """uint32 [...] of tokens int32 [..., T] in rows of one length: equal texts have equal numbers, and others differ
    but for a chance of 2^-32."""
    factors_T = np.random.default_rng(0).integers(2**32, size=tokens.shape[-1], dtype=np.uint32) | np.uint32(1)
    return jnp.sum(jnp.asarray(tokens).astype(jnp.uint32) * factors_T, axis=-1, dtype=jnp.uint32)


def comparisons(ids_BC, weights_BC):
    """Which texts are compared: (anchors with others, bool [B, N]; positives with anchors, bool [B, B]).

    Args:
        ids_BC: uint32, see `text_ids`.
        weights_BC: f32, 0 for texts that an example has not.
    """
    there_BC, own_BB = weights_BC > 0, jnp.eye(len(ids_BC), dtype=bool)

    def differ(ids_N):
        return jnp.all(ids_BC[:, :2, None] != ids_N, axis=1)

    ids_N, there_N = jnp.swapaxes(ids_BC[:, 1:], 0, 1).reshape(-1), jnp.swapaxes(there_BC[:, 1:], 0, 1).reshape(-1)
    own_BN = jnp.pad(own_BB, ((0, 0), (0, len(ids_N) - len(ids_BC))))
    return (differ(ids_N) & there_N) | own_BN, (differ(ids_BC[:, 0]) & there_BC[:, 0]) | own_BB


def _among(scores_BN, compared_BN):
    """(cross-entropy f32 [B] of number i for row i among what is compared, whether it is the highest bool [B])."""
    scores_BN, numbers_B = jnp.where(compared_BN, scores_BN, NOT_COMPARED), jnp.arange(len(scores_BN))
    losses = jax.nn.logsumexp(scores_BN, axis=-1) - jnp.take_along_axis(scores_BN, numbers_B[:, None], axis=1)[:, 0]
    return losses, is_top(jax.lax.stop_gradient(scores_BN), numbers_B)


def _check_pooling(config, model_config):
    """Refuses a pooled state that has not read the text, or that no text of the family's ends with."""
    decoder, pooling = model_config.architecture == "decoder", model_config.pooling
    if decoder and pooling == "first":
        raise ConfigError(
            f"model.pooling=first: model.family={config.model.family} reads from left to right, and its first token "
            "has read nothing; set it to last or mean"
        )
    if not decoder and pooling == "last" and config.model.family != "xlnet":
        raise ConfigError(
            f"model.pooling=last: model.family={config.model.family} was not pretrained with a token for the whole "
            "text at its end; set it to mean or first"
        )
