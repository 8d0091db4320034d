"""Sweeps: many runs that differ in a few options, what combines these, and what came out of them."""

from cloze.sweeps.combinators import chain, choice, log_uniform, product, sample, uniform, zip_

__all__ = ["chain", "choice", "log_uniform", "product", "sample", "uniform", "zip_"]
