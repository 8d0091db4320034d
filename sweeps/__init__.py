"""Sweeps: many runs that differ in a few options, what combines these, and what came out of them."""

from cloze.sweeps.combinators import chain, choice, log_uniform, product, sample, uniform, zip_
from cloze.sweeps.scaling import ScalingStudy
from cloze.sweeps.study import Study

__all__ = ["ScalingStudy", "Study", "chain", "choice", "log_uniform", "product", "sample", "uniform", "zip_"]
