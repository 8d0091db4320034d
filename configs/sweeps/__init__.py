"""Sweeps and studies; see docs/sweeps.md."""
