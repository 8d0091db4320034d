"""Hugging Face's files: models read from them, written to them, and asked the way their users ask."""

from interop.answers import logits
from interop.load import Loaded, Report, load_hf, read_hf
from interop.save import save_hf

__all__ = ["Loaded", "Report", "load_hf", "logits", "read_hf", "save_hf"]
