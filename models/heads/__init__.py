"""What stands on top of a model's body: each head is a file here, known by its name in `ModelConfig.heads_out`."""

from cloze.models.heads.base import (
    HEADS,
    RECURRENT,
    TRANSFORMERS,
    Body,
    Head,
    check_heads,
    head,
    head_modules,
    head_pattern,
    label_pattern,
    with_heads,
)

__all__ = [
    "HEADS", "RECURRENT", "TRANSFORMERS", "Body", "Head", "check_heads", "head", "head_modules", "head_pattern",
    "label_pattern", "with_heads",
]  # fmt: skip
