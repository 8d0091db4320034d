"""GloVe: vectors whose products are the logarithms of how often words stand together (Pennington et al. 2014)."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from cloze.data.cooccurrences import Cooccurrences
from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES, Objective, Term
from cloze.options import option


@OBJECTIVES.register("glove")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GloVe(Objective):
    """Weighted least squares over pairs of words that occur together (equation 8), counted when the corpus is prepared.

    Biases alone, without vectors, explain how frequent either word is, and nothing of how they go together.

    Attributes:
        special: bool [V], ids of which nothing is counted; None: there are none.
    """

    architectures = ("word_vectors",)
    outputs = ()
    context_window: int = option(5, "places to either side that a word goes with (published: 10)", least=1)
    full_count: float = option(
        100.0, "pairs with fewer co-occurrences count less: (count / full_count) ** count_power", above=0
    )
    count_power: float = option(0.75, "how much less they count", least=0, most=1)
    target_length: int | None = None
    special: Any = None

    @property
    def rows(self):
        """Rows of data.sequence_length pairs of words."""
        excluded = () if self.special is None else tuple(np.flatnonzero(self.special).tolist())
        return Cooccurrences(length=self.length, pad=self.pad_id, window=self.context_window, excluded=excluded)

    def check_fit(self, config, tables, model_config):
        """The model needs biases, and there is nothing for a decoder."""
        super().check_fit(config, tables, model_config)
        if self.target_length is not None:
            raise ConfigError(
                f"data.target_length={self.target_length} does not go with objective.name=glove, which does not read "
                "it; leave it unset"
            )
        if not model_config.use_bias:
            raise ConfigError(
                "objective.name=glove needs the biases that take up how frequent words are: set model.use_bias=true"
            )

    def corrupt_row(self, key, row):
        """`tokens`, `contexts` int32, `targets` f32 (log counts) and `target_weights` f32, all [T].

        A count of 0 fills rows up: weight and target are 0.
        """
        del key  # nothing is drawn
        counts_T = row["counts"]
        there_T = counts_T > 0
        shares_T = jnp.minimum(counts_T / self.full_count, 1.0)
        return {
            "tokens": row["tokens"],
            "segments": there_T.astype(jnp.int32),
            "contexts": row["contexts"],
            "targets": jnp.log(jnp.where(there_T, counts_T, 1.0)),
            "target_weights": jnp.where(there_T, shares_T**self.count_power, 0.0),
        }

    def loss(self, outputs, batch):
        """Term "loss": weighted squared error, a mean over pairs; the published program prints half of it."""
        errors = jnp.square(outputs.heads["context"] - batch["targets"])
        pairs = jnp.sum((batch["target_weights"] > 0).astype(jnp.float32))
        return {"loss": Term(jnp.sum(errors * batch["target_weights"]), pairs, 1.0)}
