"""Learning to answer texts with texts: prompts and responses, questions and answers, dialogues.

An encoder-decoder reads the prompt and writes the response (Raffel et al. 2020, section 2.4; Lewis et al. 2020, section
3.4). A decoder reads both as one text, whose response it learns.
"""

import dataclasses

from cloze.errors import ConfigError
from cloze.objectives import frames
from cloze.objectives.base import OBJECTIVES, check_positions
from cloze.objectives.losses import TokenLoss
from cloze.objectives.text_to_text import Prefixed


@OBJECTIVES.register("responses")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Responses(frames.Labelled, TokenLoss, Prefixed):
    """The tokens of responses and what ends them."""

    architectures = ("encoder_decoder", "decoder")
    kinds = ("text",)
    otherwise = "supervised for labels"

    @classmethod
    def layout(cls, config, tables, model_config):
        """Prompts as objective.prefix says, or as encoder-decoders read and write them."""
        objective, longest = config.objective, config.data.target_length
        decoder = model_config.architecture == "decoder"
        start = () if decoder else frames.text_start(config, tables)
        if longest is not None and longest < len(start) + 2:
            raise ConfigError(
                f"data.target_length={longest} is too short for a token of text and what stands around it: it must be "
                f"at least {len(start) + 2}"
            )
        if decoder:
            # What ends a text stands between prompt and response, too: a decoder must see where it is to answer.
            full = objective.prefix == "full"
            return dict(loss_on_inputs=objective.loss_on_inputs, full_prefix=full, target_length=longest or 0)
        longest = config.data.sequence_length if longest is None else longest
        check_positions(model_config, longest, "data.target_length")
        return dict(target_length=longest - len(start), target_start=start)

    def check_fit(self, config, tables, model_config):
        """Responses have one order, and decoders must be able to read a full prefix."""
        super().check_fit(config, tables, model_config)
        if config.task.both_orders:
            raise ConfigError(
                "task.both_orders=True does not go with objective.name=responses, which does not read it; leave it at "
                "False"
            )
        if model_config.architecture == "decoder":
            self.check_prefix(model_config)
