"""Masked language modelling, and next-sentence prediction beside it (Devlin et al. 2019, section 3.1)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from errors import ConfigError
from objectives.base import (
    Objective,
    Rows,
    check_length,
    check_loss_options,
    check_packing,
    check_positions,
    check_share,
    check_special_tokens,
)
from objectives.losses import classification_terms, token_terms

PAIRS = ("none", "next_sentence", "sentence_order")


def prediction_counts(length, mask_rate, max_predictions):
    """How many tokens to hide in a row, by how many tokens it has that are not padding.

    Counts are tabulated in Python because float32 arithmetic on the device would round some halves the other way.

    Args:
        length: tokens of a full row.
        mask_rate: share of the tokens, special ones included, that is hidden.
        max_predictions: upper bound, or None.

    Returns:
        int32 [length + 1], from BERT's rule: the rounded share (halves to even), at least 1, at most the bound.
    """
    cap = length if max_predictions is None else max_predictions
    return np.array([min(cap, max(1, round(mask_rate * n))) for n in range(length + 1)], np.int32)


def sample_positions(key, candidates_R, count, capacity):
    """Draws positions uniformly without replacement.

    Args:
        key: threefry key.
        candidates_R: bool [R], where something may be drawn.
        count: int scalar; fewer are drawn where there are fewer candidates.
        capacity: Python int, at least any `count` and at most R.

    Returns:
        positions int32 [capacity] in ascending order, 0 in unused slots at the end, and which slots are used, bool.
    """
    scores_R = jnp.where(candidates_R, jax.random.uniform(key, candidates_R.shape), 1.0)  # draws lie below 1
    # A sort is cut along rows by the compiler, where top_k would run over the whole batch on every device.
    drawn = jnp.argsort(scores_R)[:capacity]
    used = jnp.arange(capacity) < jnp.minimum(count, jnp.sum(candidates_R))
    ordered = jnp.sort(jnp.where(used, drawn, candidates_R.shape[0]))
    return jnp.where(used, ordered, 0), used


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskedLM(Objective):
    """An exact number of tokens of each row is hidden and predicted.

    Attributes:
        mask: id of [MASK].
        vocab_size: ids that a random replacement is drawn from.
        special: bool [V], ids that are never hidden.
        counts: int32 [R + 1], see `prediction_counts`.
        mask_token_share, random_token_share: of the hidden; the rest keeps its token.
        label_smoothing, z_loss: of the token loss, see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder",)
    mask: int
    vocab_size: int
    special: Any
    counts: Any
    mask_token_share: float
    random_token_share: float
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads pairs of sentences with objective.pairs, else rows as data.packing says, between [CLS] and [SEP]."""
        objective, length = config.objective, config.data.sequence_length
        check_loss_options(config)
        _check_shares(objective)
        if model_config.positions == "transformer_xl":
            raise ConfigError(
                f"model.family={config.model.family}: XLNet predicts with its query stream, which without an order of "
                "the tokens sees nothing; masked_lm trains models with other model.positions"
            )
        advice = (
            "use tokenizer.kind=wordpiece, byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"
        )
        if objective.pairs not in PAIRS:
            raise ConfigError(f"objective.pairs={objective.pairs!r} is not one of {', '.join(PAIRS)}")
        if objective.pairs != "none":
            check_special_tokens(config, tables, ("mask", "cls", "sep", "pad"), advice)
            if model_config.token_types < 2:
                raise ConfigError(
                    f"objective.pairs={objective.pairs} needs two token types, but model.family="
                    f"{config.model.family} has {model_config.token_types}: set model.token_types=2 or "
                    "objective.pairs=none"
                )
            check_length(config, 5)  # three special tokens and a token of either sentence
            check_share("objective.short_pair_rate", objective.short_pair_rate, zero=True, one=True)
            check_packing(config, ("windows",))  # pairs have a plan of their own
            swapped = objective.pairs == "sentence_order"
            rows = Rows("pairs", length, short_pair_rate=objective.short_pair_rate, swapped=swapped)
        else:
            check_special_tokens(config, tables, ("mask", "pad"), advice)
            check_length(config, 3)
            rows = Rows(check_packing(config), length)
        rows = dataclasses.replace(
            rows,
            start=() if tables.cls is None else (tables.cls,),
            end=() if tables.sep is None else (tables.sep,),
            pad=tables.pad,
        )
        check_positions(model_config, length, "data.sequence_length")
        return cls(
            rows=rows,
            outputs=("mlm",) if objective.pairs == "none" else ("mlm", "nsp"),
            mask=tables.mask,
            vocab_size=tables.vocab_size,
            special=np.asarray(tables.special, bool),
            counts=prediction_counts(length, objective.mask_rate, objective.max_predictions),
            mask_token_share=objective.mask_token_share,
            random_token_share=objective.random_token_share,
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
        )

    def corrupt_row(self, key, row):
        """Hides tokens: the row with new `tokens` [T], and `prediction_positions`, `targets`, `target_weights` [P].

        Unused slots have position 0 and weight 0. Pairs also give `labels` and `label_weights`.
        """
        position_key, choice_key, token_key = jax.random.split(key, 3)
        tokens_R = row["tokens"]
        length = tokens_R.shape[0]
        real_R = row["segments"] > 0 if "segments" in row else jnp.ones(length, bool)
        candidates_R = real_R & ~jnp.asarray(self.special)[tokens_R]
        count = jnp.asarray(self.counts)[jnp.sum(real_R)]
        positions_P, used_P = sample_positions(position_key, candidates_R, count, int(self.counts[-1]))

        targets_P = tokens_R[positions_P]
        choice_P = jax.random.uniform(choice_key, targets_P.shape)
        random_P = jax.random.randint(token_key, targets_P.shape, 0, self.vocab_size, tokens_R.dtype)
        kept_P = jnp.where(choice_P < self.mask_token_share + self.random_token_share, random_P, targets_P)
        hidden_P = jnp.where(choice_P < self.mask_token_share, self.mask, kept_P)
        # Unused slots write outside the row, where writes are dropped, lest they touch position 0.
        tokens_T = tokens_R.at[jnp.where(used_P, positions_P, length)].set(hidden_P, mode="drop")

        batch = {name: row[name] for name in ("segments", "positions", "token_types") if name in row}
        batch |= {
            "tokens": tokens_T,
            "prediction_positions": positions_P,
            "targets": targets_P,
            "target_weights": used_P.astype(jnp.float32),
        }
        if "nsp" in self.outputs:
            batch |= {"labels": row["labels"], "label_weights": jnp.ones((), jnp.float32)}
        return batch

    def loss(self, outputs, batch):
        """Terms "mlm" and "mlm_accuracy" over hidden tokens, and "nsp" and "nsp_accuracy" over pairs."""
        terms = token_terms(
            outputs,
            batch,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            names=("mlm", "mlm_accuracy"),
        )
        if "nsp" in self.outputs:
            names = ("nsp", "nsp_accuracy")
            terms |= classification_terms(outputs.nsp_logits, batch["labels"], batch["label_weights"], names)
        return terms


def _check_shares(objective):
    check_share("objective.mask_rate", objective.mask_rate)
    check_share("objective.mask_token_share", objective.mask_token_share, zero=True, one=True)
    check_share("objective.random_token_share", objective.random_token_share, zero=True, one=True)
    if objective.mask_token_share + objective.random_token_share > 1 + 1e-9:  # 0.9 + 0.1 may round above 1
        raise ConfigError(
            f"objective.mask_token_share={objective.mask_token_share} and objective.random_token_share="
            f"{objective.random_token_share} exceed 1 together: lower one of them"
        )
    if objective.max_predictions is not None and objective.max_predictions < 1:
        raise ConfigError(
            f"objective.max_predictions={objective.max_predictions} must be at least 1; leave it unset for no limit"
        )
