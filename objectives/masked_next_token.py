"""Masked next-token prediction beside causal language modelling, in one model (GPT-BERT; Charpentier and Samuel 2024).

A hidden token is predicted from the state one place before it, as the next token is in causal language modelling, so
that one head learns both: the same model reads from left to right and in both directions.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from cloze.objectives.base import OBJECTIVES, Term
from cloze.objectives.causal_lm import next_tokens
from cloze.objectives.losses import losses_and_hits
from cloze.objectives.masked_lm import MaskedLM
from cloze.objectives.text_to_text import check_looks_ahead
from cloze.options import option


@OBJECTIVES.register("masked_next_token")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskedNextToken(MaskedLM):
    """Each row is drawn to be causal or masked; kinds differ in `ranks`, by which tokens see each other, and in what is
    scored.

    A causal row is one of `CausalLM`. A masked row hides tokens as `MaskedLM` does, but never the first of a text, and
    scores the places before them. The loss is the mean over masked rows and that over causal rows, weighted by the
    shares of the two, so that the many tokens that a causal row scores do not outweigh the few of a masked one.

    Attributes:
        eos_id: id that ends a document.
    """

    architectures = ("decoder",)
    outputs = ("lm",)
    special_tokens = ("mask", "pad", "eos")
    advice = "use tokenizer.kind=byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"
    shortest = 2
    pairs: ClassVar[str] = "none"
    short_pair_rate: ClassVar[float] = 0.0
    static_masks: ClassVar[int] = 0  # the kind of a row is drawn anew each time
    causal_share: float = option(1 / 16, "share of rows that are causal; the others are masked", least=0, most=1)
    eos_id: int | None = None

    @property
    def packings(self):
        """Names are flagged in windows alone."""
        return ("windows",) if self.masking == "entities" else ("windows", "documents")

    @property
    def rows(self):
        """Rows of one token more than the model sees, as those of `CausalLM`."""
        flags = dict(flags=True, entities=True) if self.masking == "entities" else {}
        return self.packed(length=self.length + 1, document_end=self.eos_id, **flags)

    def check_fit(self, config, tables, model_config):
        """As of `MaskedLM`; and the model must tell apart what stands after a token."""
        super().check_fit(config, tables, model_config)
        check_looks_ahead(model_config, "objective.name=masked_next_token", "another objective.name")

    def choose(self, key, row, run_R):
        """As of `MaskedLM`; the first token of a text has no place before it."""
        first_R = jnp.arange(run_R.shape[0]) == 0
        if "segments" in row:
            first_R |= row["segments"] != jnp.roll(row["segments"], 1)
        return super().choose(key, row, jnp.where(first_R, 0, run_R))

    def corrupt_row(self, key, row):
        """`tokens`, `targets`, `target_weights` and `ranks` [T], `causal` f32, and `segments`, `positions` where the
        row has them."""
        kind_key, mask_key = jax.random.split(key)
        causal = jax.random.uniform(kind_key) < self.causal_share
        batch = next_tokens(row)
        seen = {name: array[:-1] for name, array in row.items() if array.ndim}
        hidden = super().corrupt_row(mask_key, seen)
        place_T = jnp.arange(batch["tokens"].shape[0], dtype=jnp.int32)
        # What is not used is added to place 0, as nothing.
        before_P = jnp.maximum(hidden["prediction_positions"] - 1, 0)
        weights_T = jnp.zeros_like(batch["target_weights"]).at[before_P].add(hidden["target_weights"])
        return batch | {
            "tokens": jnp.where(causal, batch["tokens"], hidden["tokens"]),
            "target_weights": jnp.where(causal, batch["target_weights"], weights_T),
            "ranks": jnp.where(causal, place_T, 0),
            "causal": causal.astype(jnp.float32),
        }

    def loss(self, outputs, batch):
        """Terms "mntp" of masked rows and "causal", nats a token that is scored, each with its accuracy."""
        logits = outputs.over_vocabulary("lm")
        losses_BT, right_BT = losses_and_hits(logits, batch["targets"], self.label_smoothing, self.z_loss)
        causal_B1, terms = batch["causal"][:, None], {}
        kinds = (("mntp", 1 - causal_B1, 1 - self.causal_share), ("causal", causal_B1, self.causal_share))
        for name, kind_B1, share in kinds:
            weights_BT = batch["target_weights"] * kind_B1
            weight = jnp.sum(weights_BT)
            terms[name] = Term(jnp.sum(losses_BT * weights_BT), weight, share)
            terms[f"{name}_accuracy"] = Term(jnp.sum(right_BT * weights_BT), weight, 0.0)
        return terms
