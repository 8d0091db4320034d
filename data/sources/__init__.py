"""Where text comes from: a source yields the texts of its documents in a fixed order. One file a kind."""

from cloze.data.sources.base import SOURCES, Piece, Source, of_split, parse
from cloze.data.sources.records import parse_json, whole_characters
from cloze.data.sources.tfds import TfdsSource

__all__ = ["SOURCES", "Piece", "Source", "TfdsSource", "of_split", "parse", "parse_json", "whole_characters"]
