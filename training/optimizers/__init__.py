"""Optimizers: one file each, registered by name; `base.py` says what one declares and what it gives."""
