"""GloVe: vectors whose products are the logarithms of how often words stand together (Pennington et al. 2014)."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from cloze.data.cooccurrences import Cooccurrences
from cloze.errors import ConfigError
from cloze.objectives.base import Objective, Term, check_packing, check_share, check_unread, padding


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GloVe(Objective):
    """Weighted least squares over pairs of words that occur together (equation 8), counted when the corpus is prepared.

    Biases alone, without vectors, explain how frequent either word is, and nothing of how they go together.

    Attributes:
        full_count: pairs with fewer co-occurrences count less (x_max).
        count_power: how much less (alpha).
    """

    architectures = ("word_vectors",)
    full_count: float
    count_power: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads rows of data.sequence_length pairs."""
        objective = config.objective
        check_packing(config, ("windows",))  # counts know of documents, rows do not
        check_unread(config, data__target_length=None)
        if objective.context_window < 1:
            raise ConfigError(f"objective.context_window={objective.context_window} must be at least 1 (published: 10)")
        if not objective.full_count > 0:
            raise ConfigError(f"objective.full_count={objective.full_count} must be above 0 (published: 100)")
        check_share("objective.count_power", objective.count_power, zero=True, one=True)
        if not model_config.use_bias:
            raise ConfigError(
                "objective.name=glove needs the biases that take up how frequent words are: set model.use_bias=true"
            )
        return cls(
            rows=Cooccurrences(
                length=config.data.sequence_length,
                pad=padding(tables),
                window=objective.context_window,
                excluded=tuple(np.flatnonzero(tables.special).tolist()),
            ),
            outputs=(),
            full_count=objective.full_count,
            count_power=objective.count_power,
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
