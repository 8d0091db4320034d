"""Learning to answer texts with texts: prompts and responses, questions and answers, dialogues.

An encoder-decoder reads the prompt and writes the response (Raffel et al. 2020, section 2.4; Lewis et al. 2020, section
3.4). A decoder reads both as one text, whose response it learns.
"""

import dataclasses

from cloze.errors import ConfigError
from cloze.objectives import frames
from cloze.objectives.base import Objective, check_loss_options, check_positions, check_unread
from cloze.objectives.losses import token_terms
from cloze.objectives.text_to_text import check_decoder


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Responses(Objective):
    """The tokens of responses and what ends them. Rows are batches already: nothing is hidden or drawn.

    Attributes:
        label_smoothing, z_loss: see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder_decoder", "decoder")
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads examples of kind text; a decoder's prompts as objective.prefix says."""
        check_loss_options(config)
        objective, data = config.objective, config.data
        frames.check_kind(config, ("text",), "supervised for labels")
        check_unread(config, task__both_orders=False)
        decoder, longest = model_config.architecture == "decoder", data.target_length
        start = () if decoder else frames.text_start(config, tables)
        if longest is not None and longest < len(start) + 2:
            raise ConfigError(
                f"data.target_length={longest} is too short for a token of text and what stands around it: it must be "
                f"at least {len(start) + 2}"
            )
        if decoder:
            check_decoder(config, model_config)
            # What ends a text stands between prompt and response, too: a decoder must see where it is to answer.
            options = dict(loss_on_inputs=objective.loss_on_inputs, full_prefix=objective.prefix == "full")
            options["target_length"] = longest or 0
        else:
            longest = data.sequence_length if longest is None else longest
            check_positions(model_config, longest, "data.target_length")
            options = dict(target_length=longest - len(start), target_start=start)
        return cls(
            rows=frames.rows(config, tables, model_config, **options),
            outputs=("lm",),
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
        )

    def corrupt_row(self, key, row):
        """The row as it is."""
        del key  # nothing is drawn
        return dict(row)

    def loss(self, outputs, batch):
        """Terms "loss" (nats a token of responses) and "accuracy"."""
        return token_terms(outputs, batch, label_smoothing=self.label_smoothing, z_loss=self.z_loss)
