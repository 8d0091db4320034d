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
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.losses import TokenLoss, classification_terms
from cloze.options import option

PAIRS = {"none": (), "next_sentence": ("nsp", "nsp_accuracy"), "sentence_order": ("sop", "sop_accuracy")}  # their terms
UNITS = ("tokens", "whole_words", "ngrams", "spans", "entities")


@OBJECTIVES.register("masked_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskedLM(masking.Replacements, TokenLoss):
    """A given number of tokens of each row is hidden and predicted.

    They are chosen as one of UNITS:
        tokens: single tokens, uniformly (BERT).
        whole_words: all pieces of random words, as many words as fit the budget (BERT, released later).
        ngrams: runs of one word to a few (ALBERT).
        spans: runs of a geometric number of words, the last cut by the budget (SpanBERT).
        entities: one name, date or number of each sentence (REALM).
    A token is replaced by [MASK], by a random token or not at all by a draw of its own; one draw serves all tokens of
    a span or of a name.

    An objective that is built on this one takes an option away by declaring it as a class variable.

    Attributes:
        mask_id: id of [MASK].
        vocab_size: ids that a random replacement is drawn from.
        special: bool [V], ids that are never hidden; None: there are none.
        starts_word: bool [V], ids that begin a word; None: all do.
        cls_id, sep_id: ids before and after each text; None: without.
        seed: of static masks.
    """

    architectures = ("encoder",)
    advice = "use tokenizer.kind=wordpiece, byte_bpe with tokenizer.mask_token=true, or a tokenizer.path that has them"
    masking: str = option("tokens", "what is hidden together; entities: a name, date or number", choices=UNITS)
    max_predictions: int | None = option(None, "most hidden tokens of a row; None: mask_rate of the row", least=1)
    longest_ngram: int = option(3, "most words of an n-gram (masking=ngrams), n being drawn as 1/n", least=1)
    span_success: float = option(0.2, "chance of a span to end at each word (masking=spans)", above=0, most=1)
    longest_span: int = option(10, "most words of a span; the shares of shorter ones are scaled up", least=1)
    static_masks: int = option(
        0,
        "masks that a row shows in turn, epoch after epoch; 0: a new one each time",
        least=0,
        needs={"pairs": ("none",)},
    )
    pairs: str = option(
        "none",
        "read pairs of sentences and tell whether B follows A (next_sentence) or both have changed places "
        "(sentence_order)",
        choices=tuple(PAIRS),
    )
    short_pair_rate: float = option(0.1, "share of pairs with a random shorter target length", least=0, most=1)
    mask_id: int
    vocab_size: int
    special: Any = None
    starts_word: Any = None
    cls_id: int | None = None
    sep_id: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.masking == "entities" and self.pairs != "none":
            raise ConfigError("objective.masking=entities reads rows without pairs: set objective.pairs=none")

    @property
    def outputs(self):
        """The heads "mlm", and of pairs "nsp"."""
        return ("mlm",) if self.pairs == "none" else ("mlm", "nsp")

    @property
    def packings(self):
        """Pairs have a plan of their own."""
        if self.pairs != "none":
            return ("windows",)
        return ("windows", "sentences") if self.masking == "entities" else tuple(PACKINGS)

    @property
    def special_tokens(self):
        """[MASK], and what stands around pairs."""
        return ("mask", "pad") if self.pairs == "none" else ("mask", "cls", "sep", "pad")

    @property
    def shortest(self):
        """Special tokens, and a token of each text."""
        return 3 if self.pairs == "none" else 5

    @property
    def rows(self):
        """Pairs of sentences, or rows as data.packing says, between [CLS] and [SEP]."""
        start, end = (() if one is None else (one,) for one in (self.cls_id, self.sep_id))
        fields = dict(length=self.length, start=start, end=end)
        if self.pairs != "none":
            swapped = self.pairs == "sentence_order"
            return Pairs(pad=self.pad_id, short_pair_rate=self.short_pair_rate, swapped=swapped, **fields)
        if self.masking == "entities":
            fields |= dict(flags=True, entities=True)
        return self.packed(**fields)

    def check_fit(self, config, tables, model_config):
        """Refuses what has too few token types, and units that are longer than a row."""
        if model_config.positions == "transformer_xl":
            raise ConfigError(
                f"model.family={config.model.family}: XLNet predicts with its query stream, which without an order of "
                "the tokens sees nothing; masked_lm trains models with other model.positions"
            )
        super().check_fit(config, tables, model_config)
        if self.pairs != "none" and model_config.token_types < 2:
            raise ConfigError(
                f"objective.pairs={self.pairs} needs two token types, but model.family={config.model.family} has "
                f"{model_config.token_types}: set model.token_types=2 or objective.pairs=none"
            )
        longest = {"ngrams": "longest_ngram", "spans": "longest_span"}.get(self.masking)
        if longest and getattr(self, longest) > self.length:
            raise ConfigError(
                f"objective.{longest}={getattr(self, longest)} is longer than the row, "
                f"data.sequence_length={self.length}"
            )

    def check_rows(self, batches):
        """Refuses a corpus without what masking=entities hides."""
        if self.masking == "entities":
            masking.check_entities(batches)

    def row_keys(self, key, rows):
        """The key of each row, [B]; of static masks, from the row itself and its epoch alone."""
        if not self.static_masks:
            return super().row_keys(key, rows)
        static_key, fold = jax.random.key(self.seed, impl="threefry2x32"), jax.vmap(jax.random.fold_in)
        keys_B = fold(jnp.broadcast_to(static_key, rows["row_id"].shape), rows["row_id"])
        return fold(keys_B, rows["epoch"] % self.static_masks)

    def counts(self, length):
        """int32 [length + 1]: how many tokens are hidden in a row that has 0, 1, ... of them to hide."""
        tabulate = masking.span_counts if self.masking == "spans" else masking.prediction_counts
        return tabulate(length, self.mask_rate, self.max_predictions)

    def unit_shares(self):
        """f32 [N], shares of units of 1 to N words."""
        if self.masking == "ngrams":
            return masking.ngram_shares(self.longest_ngram)
        if self.masking == "spans":
            return masking.span_shares(self.span_success, self.longest_span)
        return np.ones(1, np.float32)

    def choose(self, key, row, run_R):
        """Chooses what to hide.

        Args:
            key: threefry key.
            row: the row's arrays.
            run_R: int32 [R], see `masking.text_runs`.

        Returns:
            positions int32 [P], ascending, 0 in unused slots, and which slots are used, bool [P].
        """
        counts, text_R = self.counts(run_R.shape[0]), run_R > 0
        capacity = int(counts[-1])
        real_R = row["segments"] > 0 if "segments" in row else jnp.ones_like(text_R)
        count = jnp.asarray(counts)[jnp.sum(text_R if self.masking == "spans" else real_R)]
        if self.masking == "tokens":
            return masking.sample_positions(key, text_R, count, capacity)
        if self.masking == "entities":
            hidden_R = masking.choose_entities(key, row["flags"], run_R, count, capacity=capacity)
        else:
            word_R = masking.word_indices(run_R, masking.marked(self.starts_word, row["tokens"], True))
            choose = masking.choose_spans if self.masking == "spans" else masking.choose_ngrams
            hidden_R = choose(key, word_R, run_R, count, shares=self.unit_shares(), capacity=capacity)
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
        if self.masking in ("spans", "entities"):
            choice_P = choice_P[masking.span_indices(positions_P, used_P, run_R)]
        hidden_P = masking.replace_tokens(
            choice_P,
            jax.random.randint(token_key, targets_P.shape, 0, self.vocab_size, tokens_R.dtype),
            targets_P,
            mask=self.mask_id,
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
        names = ("mlm", "mlm_accuracy")
        terms = self.token_terms(outputs.over_vocabulary("mlm"), batch["targets"], batch["target_weights"], names)
        if self.pairs != "none":
            names = PAIRS[self.pairs]
            terms |= classification_terms(outputs.heads["nsp"], batch["labels"], batch["label_weights"], names)
        return terms
