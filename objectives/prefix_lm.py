"""Prefix language modelling: a text is cut at random, its beginning is read and its rest predicted (Liu et al. 2018;
Raffel et al. 2020, section 3.2.3)."""

import dataclasses

import jax
import jax.numpy as jnp

from cloze.objectives.base import check_length, check_packing, check_special_tokens, check_unread, padding
from cloze.objectives.text_to_text import TextToText, layout, room_for_targets, split_row, text_length


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PrefixLM(TextToText):
    """The place of the cut is uniform: at least one token lies on either side of it.

    An encoder-decoder has an end token on both sides. A decoder has none between them, so that it reads running text;
    there documents end with one.

    Attributes:
        eos: id that ends inputs and targets of an encoder-decoder, else None.
    """

    eos: int | None

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads windows or rows of sentences; a decoder's have one token more, which is only ever a target."""
        length = config.data.sequence_length
        check_length(config, 2)
        packing = check_packing(config, ("windows", "sentences"))
        if model_config.architecture == "encoder_decoder":
            check_special_tokens(config, tables, ("eos", "pad"), "use tokenizer.kind=unigram or sentencepiece_bpe")
            rows, eos = packing(length=length, pad=tables.pad), tables.eos
            sizes = dict(inputs_length=length, targets_length=room_for_targets(config, length))
        else:
            check_special_tokens(config, tables, ("eos",), "use tokenizer.kind=byte_bpe, unigram or sentencepiece_bpe")
            check_unread(config, "objective.name=prefix_lm of a decoder", data__target_length=None)
            pad = padding(tables, tables.eos)
            rows, eos = packing(length=length + 1, document_end=tables.eos, pad=pad), None
            sizes = dict(inputs_length=length + 1, targets_length=length + 1, joint_length=length + 1)
        return cls(rows=rows, eos=eos, **layout(config, tables, model_config, **sizes))

    def pair_row(self, key, row):
        """Cuts one row; a row of one token has nothing to predict but its end."""
        length = text_length(row)
        split = jnp.minimum(jax.random.randint(key, (), 1, jnp.maximum(length, 2)), length)
        sizes = (self.inputs_length, self.targets_length)
        return split_row(row["tokens"], length, split, self.eos, self.rows.pad, *sizes)
