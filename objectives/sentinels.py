"""Hidden runs of a text replaced by sentinels, and spelled out behind them (Raffel et al. 2020, section 3.1.4)."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from cloze.objectives.text_to_text import Pair, TextToText, compact
from cloze.options import option

TOKENIZER_ADVICE = "use tokenizer.kind=unigram and tokenizer.sentinels=100"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SentinelTargets(TextToText):
    """Hidden runs become sentinels, and targets are each run after its sentinel.

    Attributes:
        sentinels: int32 [n], ids in order of appearance.
    """

    special_tokens = ("eos", "pad")
    advice = TOKENIZER_ADVICE
    final_sentinel: bool = option(False, "end the targets with one more sentinel, as in the T5 paper's figure")
    sentinels: Any = ()

    def sentinel_pair(self, tokens_R, hidden_R, length, **changes):
        """The Pair of a row, see the function `sentinel_pair`; `changes` are arguments of it that differ."""
        arguments = dict(sentinels=self.sentinels, eos=self.eos_id, pad=self.pad_id, final_sentinel=self.final_sentinel)
        arguments |= dict(inputs_length=self.inputs_length, targets_length=self.targets_length)
        return sentinel_pair(tokens_R, hidden_R, length, **(arguments | changes))

    def fitting(self, hidden_R):
        """bool [R], those of the hidden tokens whose sentinels and targets there is room for; see `fitting`."""
        final = self.final_sentinel
        return fitting(hidden_R, len(self.sentinels) - final, self.targets_length - 1 - final)


def runs(hidden_R):
    """bool [R], the first token of each run of hidden tokens."""
    return hidden_R & ~jnp.roll(hidden_R, 1).at[0].set(False)


def fitting(hidden_R, sentinels, room):
    """Those of the hidden tokens, from the left, whose sentinels and targets there is room for; the rest is kept.

    Args:
        hidden_R: bool [R].
        sentinels: Python int, most runs.
        room: Python int, most tokens of the targets, sentinels included.

    Returns:
        bool [R].
    """
    runs_so_far_R = jnp.cumsum(runs(hidden_R))
    return hidden_R & (runs_so_far_R <= sentinels) & (jnp.cumsum(hidden_R) + runs_so_far_R <= room)


def sentinel_pair(
    tokens_R, hidden_R, length, *, sentinels, eos, pad, final_sentinel, inputs_length, targets_length
):  # fmt: skip
    """Inputs with a sentinel in the place of each run of hidden tokens, and targets with each run after its sentinel.

    Args:
        tokens_R: int32 [R].
        hidden_R: bool [R], within the text.
        length: tokens that are text, at most R.
        sentinels: int32 [at least runs, one more with final_sentinel], ids in order of appearance.
        eos: id that ends inputs and targets.
        pad: id of padding.
        final_sentinel: one more sentinel stands before the end of the targets.
        inputs_length, targets_length: sizes of the buffers; what lies beyond is lost.

    Returns:
        Pair, counts are int32 scalars.
    """
    first_R = runs(hidden_R)
    runs_R = jnp.cumsum(first_R)
    sentinels = jnp.asarray(sentinels, tokens_R.dtype)
    sentinel_R = jnp.take(sentinels, runs_R - 1, mode="clip")

    shown_R = (jnp.arange(tokens_R.shape[0]) < length) & (~hidden_R | first_R)
    inputs, inputs_count = compact(jnp.where(hidden_R, sentinel_R, tokens_R), shown_R, pad, inputs_length)
    inputs = inputs.at[inputs_count].set(eos, mode="drop")

    place_R = jnp.cumsum(hidden_R) + runs_R - 1
    targets = jnp.full(targets_length, pad, tokens_R.dtype)
    targets = targets.at[jnp.where(hidden_R, place_R, targets_length)].set(tokens_R, mode="drop")
    targets = targets.at[jnp.where(first_R, place_R - 1, targets_length)].set(sentinel_R, mode="drop")
    targets_count = jnp.sum(hidden_R) + runs_R[-1]
    if final_sentinel:
        targets = targets.at[targets_count].set(jnp.take(sentinels, runs_R[-1], mode="clip"), mode="drop")
        targets_count += 1
    targets = targets.at[targets_count].set(eos, mode="drop")
    return Pair(inputs, inputs_count + 1, targets, targets_count + 1)
