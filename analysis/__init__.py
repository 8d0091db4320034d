"""What a trained model looks like inside: each analysis is a file here, known by its name in --what."""

from cloze.analysis.base import ANALYSES, Analysis, Result

__all__ = ["ANALYSES", "Analysis", "Result"]
