"""Scaling laws: how loss falls with parameters, tokens and operations, fitted to runs. Pure functions of numbers."""
