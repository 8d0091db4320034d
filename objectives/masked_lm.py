"""Masked language modelling, and pairs of sentences beside it (Devlin et al. 2019, section 3.1; Lan et al. 2020)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.data.pairs import Pairs
from cloze.data.rows import PACKINGS
from cloze.errors import ConfigError
from cloze.objectives import masking
from cloze.objectives.base import (
    Objective,
    check_length,
    check_loss_options,
    check_packing,
    check_positions,
    check_replacements,
    check_share,
    check_special_tokens,
)
from cloze.objectives.losses import classification_terms, token_terms

PAIRS = {"none": (), "next_sentence": ("nsp", "nsp_accuracy"), "sentence_order": ("sop", "sop_accuracy")}  # their terms
UNITS = ("tokens", "whole_words", "ngrams", "spans", "entities")
ADVICE = "use tokenizer.kind=wordpiece, byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskedLM(Objective):
    """A given number of tokens of each row is hidden and predicted.

    They are chosen as one of UNITS:
        tokens: single tokens, uniformly (BERT).
        whole_words: all pieces of random words, as many words as fit the budget (BERT, released later).
        ngrams: runs of one word to a few (ALBERT).
        spans: runs of a geometric number of words, the last cut by the budget (SpanBERT).
        entities: one name, date or number of each sentence (REALM).
    A token is replaced by [MASK], by a random token or not at all by a draw of its own; one draw serves all tokens of
    a span or of a name.

    Attributes:
        unit: one of UNITS.
        pairs: one of PAIRS.
        mask: id of [MASK].
        vocab_size: ids that a random replacement is drawn from.
        special: bool [V], ids that are never hidden.
        starts_word: bool [V], ids that begin a word.
        counts: int32 [R + 1], see `masking.prediction_counts`; of spans, `masking.span_counts`.
        lengths: f32 [N], shares of units of 1 to N words.
        mask_token_share, random_token_share: of the hidden; the rest keeps its token.
        static_masks: a row has this many masks, which it shows in turn, epoch after epoch; 0: a new one each time.
        seed: of static masks.
        label_smoothing, z_loss: of the token loss, see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder",)
    unit: str
    pairs: str
    mask: int
    vocab_size: int
    special: Any
    starts_word: Any
    counts: Any
    lengths: Any
    mask_token_share: float
    random_token_share: float
    static_masks: int
    seed: int
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
        unit, pairs = cls.unit_of(objective), cls.pairs_of(objective)
        _check_units(config, unit, pairs)
        if pairs == "none":
            rows = _plain_rows(config, tables, unit)
        else:
            rows = _pair_rows(config, tables, model_config, pairs)
        check_positions(model_config, length, "data.sequence_length")
        tabulate = masking.span_counts if unit == "spans" else masking.prediction_counts
        return cls(
            rows=dataclasses.replace(
                rows,
                start=() if tables.cls is None else (tables.cls,),
                end=() if tables.sep is None else (tables.sep,),
                pad=tables.pad,
            ),
            outputs=("mlm",) if pairs == "none" else ("mlm", "nsp"),
            unit=unit,
            pairs=pairs,
            mask=tables.mask,
            vocab_size=tables.vocab_size,
            special=np.asarray(tables.special, bool),
            starts_word=np.asarray(tables.starts_word, bool),
            counts=tabulate(length, objective.mask_rate, objective.max_predictions),
            lengths=_lengths(objective, unit),
            mask_token_share=objective.mask_token_share,
            random_token_share=objective.random_token_share,
            static_masks=objective.static_masks,
            seed=config.seed,
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
            **cls.more(config),
        )

    @classmethod
    def unit_of(cls, objective):
        """The unit that config.objective asks for; objectives that have one of their own override it."""
        return objective.masking

    @classmethod
    def pairs_of(cls, objective):
        """As `unit_of`, of pairs."""
        return objective.pairs

    @classmethod
    def more(cls, config):
        """Checked values of the fields that an objective built on this one adds."""
        del config
        return {}

    def row_keys(self, key, rows):
        """The key of each row, [B]; of static masks, from the row itself and its epoch alone."""
        if not self.static_masks:
            return super().row_keys(key, rows)
        fold = jax.vmap(jax.random.fold_in)
        own_B = fold(jnp.broadcast_to(_static_key(self.seed), rows["row_id"].shape), rows["row_id"])
        return fold(own_B, rows["epoch"] % self.static_masks)

    def choose(self, key, row, run_R):
        """Chooses what to hide.

        Args:
            key: threefry key.
            row: the row's arrays.
            run_R: int32 [R], see `masking.text_runs`.

        Returns:
            positions int32 [P], ascending, 0 in unused slots, and which slots are used, bool [P].
        """
        capacity, text_R = int(self.counts[-1]), run_R > 0
        real_R = row["segments"] > 0 if "segments" in row else jnp.ones_like(text_R)
        count = jnp.asarray(self.counts)[jnp.sum(text_R if self.unit == "spans" else real_R)]
        if self.unit == "tokens":
            return masking.sample_positions(key, text_R, count, capacity)
        if self.unit == "entities":
            hidden_R = masking.choose_entities(key, row["flags"], run_R, count, capacity=capacity)
        else:
            word_R = masking.word_indices(run_R, jnp.asarray(self.starts_word)[row["tokens"]])
            choose = masking.choose_spans if self.unit == "spans" else masking.choose_ngrams
            hidden_R = choose(key, word_R, run_R, count, shares=self.lengths, capacity=capacity)
        return masking.positions_of(hidden_R, capacity)

    def corrupt_row(self, key, row):
        """Hides tokens: the row with new `tokens` [T], and `prediction_positions`, `targets`, `target_weights` [P].

        Unused slots have position 0 and weight 0. Pairs also give `labels` and `label_weights`.
        """
        position_key, choice_key, token_key = jax.random.split(key, 3)
        tokens_R = row["tokens"]
        length = tokens_R.shape[0]
        run_R = masking.text_runs(tokens_R, row.get("segments"), self.special)
        positions_P, used_P = self.choose(position_key, row, run_R)

        targets_P = tokens_R[positions_P]
        choice_P = jax.random.uniform(choice_key, targets_P.shape)
        if self.unit in ("spans", "entities"):
            choice_P = choice_P[masking.span_indices(positions_P, used_P, run_R)]
        hidden_P = masking.replace_tokens(
            choice_P,
            jax.random.randint(token_key, targets_P.shape, 0, self.vocab_size, tokens_R.dtype),
            targets_P,
            mask=self.mask,
            mask_share=self.mask_token_share,
            random_share=self.random_token_share,
        )
        # Unused slots write outside the row, where writes are dropped, lest they touch position 0.
        tokens_T = tokens_R.at[jnp.where(used_P, positions_P, length)].set(hidden_P, mode="drop")

        batch = {name: row[name] for name in ("segments", "positions", "token_types") if name in row}
        batch |= {
            "tokens": tokens_T,
            "prediction_positions": positions_P,
            "targets": targets_P,
            "target_weights": used_P.astype(jnp.float32),
        }
        if self.pairs != "none":
            batch |= {"labels": row["labels"], "label_weights": jnp.ones((), jnp.float32)}
        return batch

    def loss(self, outputs, batch):
        """Terms "mlm" and "mlm_accuracy" over hidden tokens; "nsp" or "sop" and its accuracy over pairs."""
        terms = token_terms(
            outputs,
            batch,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            names=("mlm", "mlm_accuracy"),
        )
        if self.pairs != "none":
            names = PAIRS[self.pairs]
            terms |= classification_terms(outputs.heads["nsp"], batch["labels"], batch["label_weights"], names)
        return terms


def _static_key(seed):
    return jax.random.key(seed, impl="threefry2x32")


def _lengths(objective, unit):
    """f32 [N]: the shares of units of 1 to N words."""
    if unit == "ngrams":
        return masking.ngram_shares(objective.longest_ngram)
    if unit == "spans":
        return masking.span_shares(objective.span_success, objective.longest_span)
    return np.ones(1, np.float32)


def _pair_rows(config, tables, model_config, pairs):
    objective, length = config.objective, config.data.sequence_length
    check_special_tokens(config, tables, ("mask", "cls", "sep", "pad"), ADVICE)
    if model_config.token_types < 2:
        raise ConfigError(
            f"objective.pairs={pairs} needs two token types, but model.family="
            f"{config.model.family} has {model_config.token_types}: set model.token_types=2 or "
            "objective.pairs=none"
        )
    check_length(config, 5)  # three special tokens and a token of either sentence
    check_share("objective.short_pair_rate", objective.short_pair_rate, zero=True, one=True)
    check_packing(config, ("windows",))  # pairs have a plan of their own
    return Pairs(length=length, short_pair_rate=objective.short_pair_rate, swapped=pairs == "sentence_order")


def _plain_rows(config, tables, unit):
    check_special_tokens(config, tables, ("mask", "pad"), ADVICE)
    check_length(config, 3)
    entities = unit == "entities"
    rows = check_packing(config, ("windows", "sentences") if entities else tuple(PACKINGS))
    marks = {"flags": True, "entities": True} if entities else {}
    return rows(length=config.data.sequence_length, **marks)


def _check_units(config, unit, pairs):
    """Refuses what does not go together in the choice of what is hidden."""
    objective = config.objective
    if pairs not in PAIRS:
        raise ConfigError(f"objective.pairs={pairs!r} is not one of {', '.join(PAIRS)}")
    if unit not in UNITS:
        raise ConfigError(f"objective.masking={unit!r} is not one of {', '.join(UNITS)}")
    if unit == "entities" and pairs != "none":
        raise ConfigError("objective.masking=entities reads rows without pairs: set objective.pairs=none")
    if unit == "ngrams":
        _check_longest(config, "longest_ngram")
    if unit == "spans":
        _check_longest(config, "longest_span")
        check_share("objective.span_success", objective.span_success, one=True)
    if objective.static_masks < 0:
        raise ConfigError(
            f"objective.static_masks={objective.static_masks} must be 0, a new mask each time, or the number of masks "
            "that a row has"
        )
    if objective.static_masks and pairs != "none":
        raise ConfigError(
            f"objective.static_masks={objective.static_masks} needs rows that come back, but pairs are drawn anew each "
            "epoch: set objective.static_masks=0, or read rows without pairs"
        )


def _check_longest(config, option):
    value, length = config.objective[option], config.data.sequence_length
    if not 1 <= value <= length:
        raise ConfigError(
            f"objective.{option}={value} must lie between 1 word and the row, data.sequence_length={length}"
        )


def _check_shares(objective):
    check_share("objective.mask_rate", objective.mask_rate)
    check_replacements(objective)
    if objective.max_predictions is not None and objective.max_predictions < 1:
        raise ConfigError(
            f"objective.max_predictions={objective.max_predictions} must be at least 1; leave it unset for no limit"
        )
