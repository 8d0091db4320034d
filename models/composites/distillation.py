"""A student that learns from a frozen teacher (Hinton et al. 2015, arXiv:1503.02531)."""

from typing import Any

import jax
from flax import struct

from cloze.models.build import build
from cloze.models.composite import Composite


@struct.dataclass
class DistillationOutputs:
    """What both give for the same batch.

    Attributes:
        student: Outputs.
        teacher: Outputs, without a gradient.
    """

    student: Any
    teacher: Any


class Distillation(Composite):
    """A student and a teacher that runs without dropout and without a backward pass.

    Args:
        student, teacher: ModelConfigs.
    """

    def __init__(self, student, teacher):
        super().__init__({"student": build(student), "teacher": build(teacher)}, main="student", fills="student")

    def apply(self, variables, batch, deterministic=True, rngs=None):
        """DistillationOutputs of a batch; see Composite."""
        student = self.run(variables["params"], "student", batch, deterministic, rngs)
        teacher = self.run(jax.lax.stop_gradient(variables["params"]), "teacher", batch, True, None)
        return DistillationOutputs(student, teacher)
