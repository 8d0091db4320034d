"""Validation of a finished run with other options, so that runs that hide different things answer the same question."""

import ast
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from cloze import options
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.training import runs
from cloze.training.run import build
from cloze.training.validation import Validator

SECTIONS = ("objective", "data", "train")  # whose options may be others


def parse(given: list[str]) -> dict[str, Any]:
    """{option: value} of KEY=VALUE; a value that is no Python literal is text.

    Raises:
        ConfigError: one is not of this form, or is an option of the model or of how it was trained.
    """
    found = {}
    for one in given:
        key, equals, text = one.partition("=")
        section, _, option = key.partition(".")
        if not equals or not option or section not in SECTIONS:
            listed = ", ".join(f"{name}.*" for name in SECTIONS)
            raise ConfigError(f"{one!r} must be OPTION=VALUE, as in objective.mask_rate=0.15, an option of {listed}")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def validate(
    workdir: str | pathlib.Path, changes: Mapping[str, Any], which: str = runs.NEWEST, report: Callable = print
) -> dict[str, float]:
    """{metric: value} of a run's validation split with some options changed.

    Args:
        workdir: the run's directory.
        changes: {option: value}, of an objective with the same heads: the parameters are those of the run.
        which: of its checkpoints, see runs.checkpoint_of.
        report: called with messages.

    Raises:
        ConfigError: there is no such run or option, or the run's parameters do not fit.
    """
    config = runs.load_config(workdir)
    for key, value in changes.items():
        section, _, option = key.partition(".")
        if option not in config[section]:
            raise ConfigError(f"there is no option {key} here{options.suggest(option, config[section].keys())}")
        try:
            config[section][option] = value
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key}={value!r}: {error}") from None
    base.check(config)
    checkpoints, step = runs.checkpoint_of(workdir, which, report)
    run = build(config, pathlib.Path(workdir) / "tokenizer", jax.devices()[:1], report)
    program = run.program(checkpoints.read_seal(step).get("stage", 0))
    return Validator(run)(program, program.restore(checkpoints, step, report))
