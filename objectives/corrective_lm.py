"""Correcting and contrasting text (COCO-LM; Meng et al. 2021, arXiv:2102.08473, section 3)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models.composites import CorrectivePair
from cloze.models.composites.generator import put
from cloze.objectives import replacements
from cloze.objectives.base import OBJECTIVES, Term
from cloze.objectives.losses import is_top
from cloze.options import option


def crop_counts(length, share):
    """How many tokens after the first a crop keeps, by how many tokens the row has: int32 [length + 1]."""
    return np.array([min(n - 1, max(1, round(share * (n - 1)))) if n > 1 else 0 for n in range(length + 1)], np.int32)


def crop(key, tokens_R, real_R, counts, pad):
    """A contiguous stretch of a row behind the row's first token.

    Args:
        key: threefry key.
        tokens_R: int32 [R].
        real_R: bool [R], a prefix of the row.
        counts: int32 [R + 1], see `crop_counts`.
        pad: id that fills the row up.

    Returns:
        (tokens int32 [R], segments int32 [R], 0 for padding).
    """
    places = jnp.arange(tokens_R.shape[0])
    real = jnp.sum(real_R)
    count = jnp.asarray(counts)[real]
    start = jax.random.randint(key, (), 0, jnp.maximum(real - count, 1))
    taken = jnp.where(places == 0, 0, jnp.minimum(places + start, tokens_R.shape[0] - 1))
    kept = (places <= count) & (real > 0)
    return jnp.where(kept, tokens_R[taken], pad), kept.astype(jnp.int32)


def contrastive_terms(first_BD, second_BD, weights_B, ids_B, temperature, coefficient):
    """InfoNCE over two views of each row: each view must find the other among all views of other rows of the batch.

    Args:
        first_BD, second_BD: states of both views.
        weights_B: f32 [B], 0 for rows that do not count, neither as anchors nor as negatives.
        ids_B: int32 [B], the same for a row that is in the batch twice.
        temperature: the cosines are divided by it.
        coefficient: of the loss.

    Returns:
        Terms "scl" and "scl_accuracy", means over 2B anchors.
    """
    states = jnp.concatenate([first_BD, second_BD]).astype(jnp.float32)
    states *= jax.lax.rsqrt(jnp.sum(states * states, axis=-1, keepdims=True) + 1e-12)
    weights = jnp.concatenate([weights_B, weights_B])
    count = weights.shape[0]
    partner = (jnp.arange(count) + count // 2) % count
    ids = jnp.concatenate([ids_B, ids_B])
    compared = ((ids[:, None] != ids) | (partner[:, None] == jnp.arange(count))) & (weights > 0)
    # Far below any cosine, yet finite, so that a batch without rows to compare gives 0 and not NaN.
    scores = jnp.where(compared, states @ states.T / temperature, -1e9)
    losses = jax.nn.logsumexp(scores, axis=-1) - jnp.take_along_axis(scores, partner[:, None], axis=1)[:, 0]
    weight = jnp.sum(weights)
    return {
        "scl": Term(jnp.sum(losses * weights), weight, coefficient),
        "scl_accuracy": Term(jnp.sum(is_top(jax.lax.stop_gradient(scores), partner) * weights), weight, 0.0),
    }


@OBJECTIVES.register("corrective_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CorrectiveLM(replacements.Generated):
    """The main model corrects what a generator has put in.

    The loss is masked language modelling of the generator, plus corrective language modelling (which token was at each
    hidden place, by copying the input or by the softmax, without a gradient to the probability of copying; and which
    tokens are copies, times discriminator_weight), plus the contrast of the corrected row with a crop of it.
    """

    advice = "use tokenizer.kind=wordpiece, or objective.contrastive_weight=0"
    label_smoothing: ClassVar[float] = 0.0  # of the likelihood of copying or writing a token, which has neither
    z_loss: ClassVar[float] = 0.0
    contrastive_weight: float = option(1.0, "weight of telling a row's crop from other rows; 0: without crops", least=0)
    contrastive_temperature: float = option(1.0, "the cosines of that contrast are divided by it", above=0)
    crop_share: float = option(0.9, "share of a row that the crop keeps", above=0, most=1)

    outputs = ("mlm", "copy")

    @property
    def whole_batch(self):
        """Rows are compared with each other."""
        return self.contrastive_weight > 0

    @property
    def packings(self):
        """A crop is of a row that is one text."""
        return ("windows", "sentences") if self.contrastive_weight else super().packings

    @property
    def special_tokens(self):
        """The contrast is between the states of [CLS]."""
        return ("mask", "pad", "cls") if self.contrastive_weight else super().special_tokens

    def check_fit(self, config, tables, model_config):
        """The contrast needs a model that runs on crops, and other rows."""
        super().check_fit(config, tables, model_config)
        if not self.contrastive_weight:
            return
        if model_config.enhanced_decoder:
            raise ConfigError(
                f"model.enhanced_decoder={model_config.enhanced_decoder} runs where tokens are predicted, not on the "
                "crop of a row, so that its two views would be those of two networks: set model.enhanced_decoder=0, or "
                "objective.contrastive_weight=0"
            )
        if config.train.batch_size < 2:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size}: a row is contrasted with other rows of its batch; set "
                "train.batch_size=2 or more, or objective.contrastive_weight=0"
            )

    def model(self, model_config, **_):
        """The pair; its parts have no frozen bottom, as a generator below them trains."""
        return CorrectivePair(self.generator(model_config), model_config, self.tie)

    def corrupt_row(self, key, row):
        """As replaced_tokens; and `crop_tokens`, `crop_segments` [T], a stretch of the row as it was, and `row_id`."""
        hide_key, crop_key = jax.random.split(key)
        batch = super().corrupt_row(hide_key, row)
        if self.contrastive_weight:
            real = row["segments"] > 0 if "segments" in row else jnp.ones(row["tokens"].shape, bool)
            counts = crop_counts(real.shape[0], self.crop_share)
            tokens, segments = crop(crop_key, row["tokens"], real, counts, self.pad_id)
            batch |= {"crop_tokens": tokens, "crop_segments": segments, "row_id": row["row_id"]}
        return batch

    def loss(self, outputs, batch):
        """Terms "mlm", "clm", "copy" and "scl", each with its accuracy, and what "copy" is judged by.

        The accuracy of "clm" is that of the softmax alone.
        """
        targets, used, places = batch["targets"], batch["target_weights"], batch["prediction_positions"]
        terms = self.generator_terms(outputs, batch)

        copy_BT = outputs.main.heads["copy"]
        copy_BP = jax.lax.stop_gradient(jnp.take_along_axis(copy_BT, places, axis=1))
        losses = replacements.copying_loss(outputs.main.logits, copy_BP, outputs.sampled, targets)
        right, weight = is_top(outputs.main.logits, targets), jnp.sum(used)
        terms |= {
            "clm": Term(jnp.sum(losses * used), weight, 1.0),
            "clm_accuracy": Term(jnp.sum(right * used), weight, 0.0),
        }

        replaced = put(batch, jnp.zeros(copy_BT.shape, bool), outputs.sampled != targets)
        real = replacements.real_tokens(batch)
        terms |= replacements.binary_terms(copy_BT, ~replaced, real, self.discriminator_weight, "copy")
        terms |= replacements.found_terms(-copy_BT, replaced, real)
        if self.contrastive_weight:
            first, rows = outputs.main.hidden[:, 0], (jnp.sum(real, axis=1) > 0).astype(jnp.float32)
            views = (first, outputs.crop, rows, batch["row_id"])
            terms |= contrastive_terms(*views, self.contrastive_temperature, self.contrastive_weight)
        return terms
