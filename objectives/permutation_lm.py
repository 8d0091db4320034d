"""Permutation language modelling: predict some tokens in a random order of all (Yang et al. 2019, 2.2 to 2.5).

A row is a memory and a segment that is trained on. The memory, what comes before in the text, is seen by everything
after it and is not predicted; it is the end of another row's segment, so that all of the text is trained on. The paper
caches the states of earlier segments instead, through which no gradient flows; here they are computed again and trained
through, so that a step needs nothing but its rows. Half of the paper's rows run backwards (`bi_data`); none do here.

The segment falls into two halves with an order each, the first of which is seen by all of the second (the paper's data
code feeds the first on as memory). Within a half:

* Short runs of whole words are chosen as targets, of n words with probability proportional to 1/n, n = 1 to 5, each in
  the middle of 6n words of context, until the budget is spent (2.3: a sixth of the tokens).
* Every token that is neither a target nor special is seen by all.
* Targets and special tokens get ranks by an order of the places. A target's query stream sees smaller ranks only;
  everything else sees equal ranks too, so that a token sees itself.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cloze.data.rows import Windows
from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.draws import random_order
from cloze.objectives.losses import TokenLoss
from cloze.objectives.masking import MaskRate, marked
from cloze.options import option


def choose_targets(key, starts_word_R, candidates_R, budget, *, longest_ngram, context):
    """Draws runs of whole words, each with room around it, until a number of tokens is chosen.

    The last run is cut to the budget, perhaps within a word, so that every row predicts the same number.

    Args:
        key: threefry key.
        starts_word_R: bool [R], where a word begins.
        candidates_R: bool [R], what may be a target.
        budget: Python int, targets to choose, at most R; fewer where there are fewer candidates.
        longest_ngram: most words in a run; n words have probability proportional to 1/n.
        context: words' worth of tokens that a run of n words takes up are n * context.

    Returns:
        bool [R], the targets.
    """
    length = starts_word_R.shape[0]
    share = 1 / np.arange(1, longest_ngram + 1)
    edges = jnp.asarray(np.cumsum(share / share.sum())[:-1], jnp.float32)
    # next_word_R[i]: the first place from i on where a word begins, R if there is none.
    place_R = jnp.arange(length)
    next_word_R = jax.lax.cummin(jnp.where(starts_word_R, place_R, length), reverse=True)
    next_word_R = jnp.append(next_word_R, length)
    rounds = -(-length // (context + 1)) + 1  # a run with its context moves on by more than `context` places
    ngram_key, left_key, fill_key = jax.random.split(key, 3)
    ngrams = 1 + jnp.searchsorted(edges, jax.random.uniform(ngram_key, (rounds,)), side="right")
    left = jax.random.uniform(left_key, (rounds,))

    def take(state, draw):
        at, chosen, going = state
        words, share_left = draw
        around = words * context
        before = jnp.floor(share_left * around).astype(jnp.int32)
        begin = next_word_R[jnp.minimum(at + before, length)]
        end = begin
        for k in range(longest_ngram):
            end = jnp.where(k < words, next_word_R[jnp.minimum(end + 1, length)], end)
        going &= (begin < length) & (chosen + words <= budget)
        size = jnp.where(going, jnp.minimum(end - begin, budget - chosen), 0)
        at = jnp.where(going, end + around - before, at)
        return (at, chosen + size, going), (begin, size)

    start = (jnp.int32(0), jnp.int32(0), jnp.bool_(True))
    _, (begins, sizes) = jax.lax.scan(take, start, (ngrams, left))
    # Runs do not overlap, so that their begins and ends add up to what is inside one.
    edges_R = jnp.zeros(length + 1, jnp.int32).at[begins].add(jnp.sign(sizes)).at[begins + sizes].add(-jnp.sign(sizes))
    targets_R = (jnp.cumsum(edges_R)[:-1] > 0) & candidates_R
    # What is left of the budget goes to single tokens, anywhere.
    left_R = candidates_R & ~targets_R
    rank_R = jnp.argsort(random_order(fill_key, length, left_R))
    return targets_R | ((rank_R < budget - jnp.sum(targets_R)) & left_R)


def draw_order(key, length, block):
    """The rank of each place: places in blocks of `block`, all blocks in the same random order.

    Args:
        key: threefry key.
        length: Python int, a multiple of `block`.
        block: Python int.

    Returns:
        int32 [length], a permutation of 0 ... length - 1.
    """
    order = jax.random.permutation(key, block)
    return (jnp.arange(length // block)[:, None] * block + order[None, :]).reshape(-1)


@OBJECTIVES.register("permutation_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PermutationLM(MaskRate, TokenLoss):
    """Targets of both halves of a segment, each predicted from what its order has before it.

    Attributes:
        sep_id, cls_id: ids that end a row.
        special: bool [V], ids that are never targets; None: there are none.
        starts_word: bool [V], pieces that begin a word; None: all do.
    """

    architectures = ("encoder",)
    special_tokens = ("cls", "sep", "pad")
    advice = "use tokenizer.kind=unigram with tokenizer.mask_token=true, wordpiece, or a tokenizer.path"
    shortest = 8
    memory_share: float = option(
        0.0, "tokens in front of those of data.sequence_length that are only seen, as a share of these", least=0, most=1
    )
    permutation_share: float = option(
        0.5, "share of a row that is permuted in itself: a half, or a part of one", above=0, most=0.5
    )
    longest_ngram: int = option(3, "most words of a run of targets, n being drawn as 1/n", least=1)
    ngram_context: int = option(6, "targets of n words stand in about n times as many tokens", least=1)
    sep_id: int | None = None
    cls_id: int | None = None
    special: Any = None
    starts_word: Any = None

    @property
    def memory(self):
        """Tokens at the beginning of a row that are only seen."""
        return round(self.memory_share * self.length)

    @property
    def block(self):
        """Tokens that are permuted among themselves."""
        return round(self.permutation_share * self.length)

    @property
    def budgets(self):
        """Targets of the first and of the second half."""
        budget = max(2, round(self.mask_rate * self.length))
        return budget - budget // 2, budget // 2

    @property
    def rows(self):
        """Windows that end with [SEP] and [CLS], and overlap by the memory, so that every token is trained on."""
        end = (self.sep_id, self.cls_id)
        return Windows(length=self.memory + self.length, end=end, pad=self.pad_id, overlap=self.memory)

    @property
    def stack_lengths(self):
        """The stack sees the memory, too."""
        return {"data.sequence_length with objective.memory_share": self.memory + self.length}

    def check_fit(self, config, tables, model_config):
        """The model needs a query stream, and blocks must divide half a row."""
        if model_config.positions != "transformer_xl":
            raise ConfigError(
                "objective.name=permutation_lm predicts with a second stream of queries, which only "
                f"model.positions=transformer_xl has; model.family={config.model.family} has "
                f"{model_config.positions}: set model.family=xlnet"
            )
        super().check_fit(config, tables, model_config)
        if self.length % 2 or self.block < 1 or (self.length // 2) % self.block:
            raise ConfigError(
                f"objective.permutation_share={self.permutation_share} of data.sequence_length={self.length} is "
                f"{self.block} tokens, which must divide the {self.length / 2:g} of half a row; XLNet: 0.5 of 512"
            )

    def corrupt_row(self, key, row):
        """Orders: `tokens`, `ranks`, `token_types` [R], and `prediction_positions`, `targets`, `target_weights` [P]."""
        tokens_R = row["tokens"]
        half = self.length // 2
        ranks, places, used = [jnp.full(self.memory, -1, jnp.int32)], [], []
        for part, (budget, part_key) in enumerate(zip(self.budgets, jax.random.split(key), strict=True)):
            first = self.memory + part * half
            part_tokens = jax.lax.slice_in_dim(tokens_R, first, first + half)
            target_key, order_key = jax.random.split(part_key)
            special_H = marked(self.special, part_tokens, False)
            targets_H = choose_targets(
                target_key,
                marked(self.starts_word, part_tokens, True) | special_H,
                ~special_H,
                budget,
                longest_ngram=self.longest_ngram,
                context=self.ngram_context,
            )
            order_H = draw_order(order_key, half, self.block)
            # The second half's visible tokens come after all of the first half, but are not seen by it.
            lowest = part * (half + 1)
            ranks.append(lowest + jnp.where(targets_H | special_H, 1 + order_H, 0))
            found_P = jnp.sort(jnp.where(targets_H, jnp.arange(half), half))[:budget]
            used.append(found_P < half)
            places.append(jnp.where(found_P < half, first + found_P, 0))
        places_P, used_P = jnp.concatenate(places), jnp.concatenate(used)
        types_R = jnp.zeros_like(tokens_R).at[-1].set(2)  # [CLS] has a type of its own
        return {
            "tokens": tokens_R,
            "ranks": jnp.concatenate(ranks),
            "token_types": types_R,
            "prediction_positions": places_P,
            "targets": tokens_R[places_P],
            "target_weights": used_P.astype(jnp.float32),
        }
