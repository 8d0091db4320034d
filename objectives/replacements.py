"""What objectives with a generator share: its options, the hidden tokens, and scores of telling copies apart."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.composites import TIES, narrower
from cloze.objectives.base import Term
from cloze.objectives.losses import cross_entropy
from cloze.objectives.masked_lm import MaskedLM
from cloze.options import option


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Generated(MaskedLM):
    """A generator learns masked language modelling; the main model reads a draw from its answers."""

    pairs: ClassVar[str] = "none"  # there is no classifier of pairs
    short_pair_rate: ClassVar[float] = 0.0
    static_masks: ClassVar[int] = 0  # the generator draws anew each time
    generator_width: float = option(
        0.25, "the generator's width as a share of the model's, and that of its feed-forward layer", above=0, most=1
    )
    generator_layers: float = option(1.0, "its layers as a share of the model's", above=0, most=1)
    tie: str = option(
        "embeddings",
        "what both share: embeddings (and their norm), all, none, or disentangled: the model's token table is the "
        "generator's, without a gradient to it, plus a difference of its own (DeBERTa v3)",
        choices=tuple(TIES),
    )
    discriminator_weight: float = option(
        50.0, "weight of the model's loss (replaced_tokens), of telling copies (corrective_lm)", least=0
    )

    def __post_init__(self):
        super().__post_init__()
        if self.tie == "all" and (self.generator_width, self.generator_layers) != (1, 1):
            raise ConfigError(
                f"objective.tie=all shares whole layers, so the generator must be as large as the model: set "
                f"objective.generator_width=1 (now {self.generator_width}) and objective.generator_layers=1 (now "
                f"{self.generator_layers}), or objective.tie=embeddings"
            )

    def generator(self, model_config):
        """The generator's ModelConfig from that of the main model."""
        return narrower(model_config, self.generator_width, self.generator_layers)

    def corrupt_row(self, key, row):
        """The batch of `MaskedLM` with `sample_key` uint32 [2], from which the generator draws.

        The key is part of the batch, so that draws depend neither on microbatches nor on the mesh.
        """
        mask_key, sample_key = jax.random.split(key)
        return super().corrupt_row(mask_key, row) | {"sample_key": jax.random.key_data(sample_key)}

    def generator_terms(self, outputs, batch):
        """Terms "mlm" and "mlm_accuracy"."""
        names = ("mlm", "mlm_accuracy")
        return self.token_terms(outputs.generator_logits, batch["targets"], batch["target_weights"], names)


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
