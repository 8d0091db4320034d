"""Learned positions: a table of embeddings (Gehring et al. 2017; BERT, GPT)."""

import dataclasses

from cloze.errors import ConfigError
from cloze.models import axes
from cloze.models.embeddings import Table
from cloze.models.positions.scheme import SCHEMES, Scheme
from cloze.options import option


@SCHEMES.register("learned")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Scheme):
    """A row of a table for each position, added to token embeddings."""

    position_offset: int = option(0, "unused rows before the first of the learned positions (RoBERTa, BART)", least=0)

    def check(self, config):
        super().check(config)
        if config.max_positions < 1:
            raise ConfigError("learned positions need model.max_positions")

    def longest_row(self, config):
        return config.max_positions

    def embed(self, config, positions):
        rows = config.max_positions + self.position_offset
        table = Table(rows, config.embedding_width, config, axes.POSITIONS, name="position")
        return table(positions + self.position_offset)
