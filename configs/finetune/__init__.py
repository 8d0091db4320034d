"""Finetuning experiments, one file for each form of task."""
