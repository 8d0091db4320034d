"""Other runs out of a run's checkpoints: one that goes on from a step, and one with averaged parameters."""

import pathlib
import shutil
from collections.abc import Callable, Sequence

import jax

from cloze.data import tokenizers
from cloze.errors import ConfigError
from cloze.training import divergence, new_run, runs
from cloze.training.checkpoint import Checkpoints
from cloze.training.workdir import ALLOWED


def branch(workdir: pathlib.Path, step: int, target: pathlib.Path, report: Callable[[str], None] = print) -> None:
    """Copies a run as it was after a step, the optimizer's state with it: `target` can go on from there otherwise.

    So a schedule with a stable part decays from any of its checkpoints.

    Args:
        workdir: the run's directory.
        step: of one of its checkpoints.
        target: the directory to make; it must not exist, or be empty.
        report: called with messages.

    Raises:
        ConfigError: no run, no such checkpoint, or a directory that is not empty.
    """
    runs.load_config(workdir)
    checkpoints = _checkpoints(workdir, [step])
    with new_run.appearing(target) as directory:
        shutil.copytree(workdir / "tokenizer", directory / "tokenizer")
        shutil.copytree(checkpoints.directory / str(step), directory / "checkpoints" / str(step))
        # Of the metrics, train.py cuts off what comes after the step.
        for name in ("config.json", ALLOWED, divergence.FILE, "metrics.jsonl"):
            if (workdir / name).exists():
                shutil.copy(workdir / name, directory / name)
    report(f"{workdir}, step {step}: copied to {target}, where training goes on with the same --config")


def average(
    workdir: pathlib.Path, steps: Sequence[int], target: pathlib.Path, report: Callable[[str], None] = print
) -> None:
    """Makes a run whose parameters are the means of those of several checkpoints (Izmailov et al. 2018).

    Of checkpoints that hold only what trains, that alone is averaged: of LoRA the factors, not their products.

    Args:
        workdir: the run's directory.
        steps: of its checkpoints; the new run has the last one.
        target: the directory to make; it must not exist, or be empty.
        report: called with messages.

    Raises:
        ConfigError: no run, no such checkpoints, those of several stages, or a directory that is not empty.
    """
    new_run.check_free(target)
    config = runs.load_config(workdir)
    checkpoints = _checkpoints(workdir, steps)
    seals = [checkpoints.read_seal(step) for step in steps]
    if len({seal.get("stage", 0) for seal in seals}) > 1:
        raise ConfigError(f"--steps={','.join(map(str, steps))}: in these steps of {workdir} other parameters train")
    total = None
    for step in steps:
        params = checkpoints.saved(step)
        total = params if total is None else jax.tree.map(lambda a, b: a + b, total, params)
    checkpoints.close()
    mean = jax.tree.map(lambda leaf: leaf / len(steps), total)
    facts = {key: seals[-1][key] for key in ("stage", "base") if key in seals[-1]}
    with new_run.appearing(target) as directory:
        tokenizer = tokenizers.load(workdir / "tokenizer")
        new_run.write(directory, config, tokenizer, mean, step=max(steps), seal=facts)
    report(f"{workdir}, means over the steps {', '.join(map(str, steps))}: written to {target}")


def _checkpoints(workdir, steps):
    """The Checkpoints of a run, which has those of some steps."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    for step in steps:
        checkpoints.check_whole(step)
    return checkpoints
