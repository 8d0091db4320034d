"""What is computed: one transformer, configured into every family."""

from models.config import FAMILIES, ModelConfig, presets, resolve
from models.transformer import Outputs, Transformer

__all__ = ["FAMILIES", "ModelConfig", "Outputs", "Transformer", "presets", "resolve"]
