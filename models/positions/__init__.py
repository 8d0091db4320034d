"""Where tokens stand: one file a scheme, each with its options and all that it does to a model."""

from cloze.models.positions.scheme import SCHEMES, Placement, Scheme

__all__ = ["SCHEMES", "Placement", "Scheme"]
