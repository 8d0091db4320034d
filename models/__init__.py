"""What is computed: one transformer, configured into every family, and the recurrent models before it."""

from cloze.models.build import Parameters, build, example_batch, parameters
from cloze.models.config import ModelConfig, families, presets, resolve
from cloze.models.outputs import Outputs
from cloze.models.transformer import Transformer

__all__ = [
    "ModelConfig", "Outputs", "Parameters", "Transformer", "build", "example_batch", "families", "parameters",
    "presets", "resolve",
]  # fmt: skip
