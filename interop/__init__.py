"""Hugging Face's files: models read from them, written to them, and asked the way their users ask."""

from cloze.interop.answers import logits
from cloze.interop.load import Loaded, Report, load_hf, read_hf
from cloze.interop.save import save_hf

__all__ = ["Loaded", "Report", "load_hf", "logits", "read_hf", "save_hf"]
