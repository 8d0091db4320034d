"""Prefix language modelling: a text is cut at random, its beginning is read and its rest predicted (Liu et al. 2018;
Raffel et al. 2020, section 3.2.3)."""

import dataclasses

import jax
import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.objectives.base import OBJECTIVES
from cloze.objectives.text_to_text import TextToText, split_row, text_length


@OBJECTIVES.register("prefix_lm")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PrefixLM(TextToText):
    """The place of the cut is uniform: at least one token lies on either side of it.

    An encoder-decoder has an end token on both sides. A decoder has none between them, so that it reads running text;
    there documents end with one, and rows have one token more, which is only ever a target.
    """

    packings = ("windows", "sentences")
    shortest = 2

    @property
    def special_tokens(self):
        """A decoder pads with the end of a text where there is no padding token."""
        return ("eos", "pad") if self.architecture == "encoder_decoder" else ("eos",)

    @property
    def advice(self):
        """What of: tokenizers for either architecture."""
        more = "" if self.architecture == "encoder_decoder" else "byte_bpe, "
        return f"use tokenizer.kind={more}unigram or sentencepiece_bpe"

    @property
    def inputs_length(self):
        """A decoder's buffers hold the whole row."""
        return self.length + (self.architecture == "decoder")

    @property
    def targets_needed(self):
        """As many as inputs."""
        return self.inputs_length

    @property
    def joint_length(self):
        """The parts of a row are as long as the row."""
        return self.inputs_length

    @property
    def rows(self):
        """Windows or rows of sentences."""
        end = self.eos_id if self.architecture == "decoder" else None
        return self.packed(length=self.inputs_length, document_end=end)

    def check_fit(self, config, tables, model_config):
        """A decoder has no buffer of targets."""
        if self.architecture == "decoder" and self.target_length is not None:
            raise ConfigError(
                f"data.target_length={self.target_length} does not go with objective.name=prefix_lm of a decoder, "
                "which reads inputs and targets in one row; leave it unset"
            )
        super().check_fit(config, tables, model_config)

    def pair_row(self, key, row):
        """Cuts one row; a row of one token has nothing to predict but its end."""
        length = text_length(row)
        split = jnp.minimum(jax.random.randint(key, (), 1, jnp.maximum(length, 2)), length)
        end = self.eos_id if self.architecture == "encoder_decoder" else None
        return split_row(row["tokens"], length, split, end, self.pad_id, self.inputs_length, self.targets_length)
