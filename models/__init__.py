"""What is computed: one transformer, configured into every family."""

from models.config import ModelConfig, presets, resolve
from models.transformer import Outputs, Transformer

__all__ = ["ModelConfig", "Outputs", "Transformer", "presets", "resolve"]
