"""Whole runs in this process, as train.py makes them: many short ones, without starting a program for each."""

import json
import pathlib
import time

import jax

from cloze.configs import base
from cloze.parallel import cost
from cloze.training import features, resolve
from cloze.training.checkpoint import Checkpoints
from cloze.training.loop import Progress, fit
from cloze.training.metrics import NoWriter
from cloze.training.retention import Retention
from cloze.training.run import build


def train(config, workdir):
    """Trains from the beginning to the end; what it has learned is kept in `workdir` as train.py does.

    Args:
        config: the configuration.
        workdir: a directory that does not exist yet.

    Returns:
        {"trainable", "parameters": numbers of parameters; "seconds": of all steps, compiling and validation left out;
        "step_ms": the same of one step; "optimizer_bytes"}.
    """
    workdir = pathlib.Path(workdir)
    config = resolve.resolve(config)
    program = build(config, devices=jax.devices()[:1], report=silent).program()
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(base.to_dict(config), indent=1, sort_keys=True))
    program.run.tokenizer.save(workdir / "tokenizer")
    facts, state = program.run.facts(), program.new_state(silent)
    program, state = features.with_features(program, state, True, silent)
    clock = Clock()
    checkpoints = Checkpoints(workdir / "checkpoints", Retention(1))
    last = program.run.durations["steps"]
    program, state = fit(
        program, state, start=0, checkpoints=checkpoints, writer=clock, progress=Progress(1.0, last), facts=facts,
        report=silent,
    )  # fmt: skip
    checkpoints.close()
    parameters, trainable = program.parameter_counts()
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.opt_state))
    return {
        "trainable": trainable, "parameters": parameters, "seconds": clock.seconds * last,
        "step_ms": 1e3 * clock.seconds, "optimizer_bytes": size,
    }  # fmt: skip


class Clock(NoWriter):
    """Keeps the seconds of a step from the lines that are logged; the last ones know them best."""

    def __init__(self):
        self._found = []

    def write(self, step, split, values):
        """Reads a line."""
        if split == "train":
            self._found.append((step, values["seconds"]))

    @property
    def seconds(self):
        """Of a step, a mean over the steps but the first."""
        steps = [step for step, _ in self._found]
        weights = [b - a for a, b in zip(steps[:-1], steps[1:], strict=True)]
        later = [seconds for _, seconds in self._found[1:]]
        return sum(w * s for w, s in zip(weights, later, strict=True)) / max(sum(weights), 1)


def silent(line):
    del line


def machine():
    """What a figure is measured on, for the record."""
    rate, origin = cost.peak_rate("float32")
    return f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {rate / 1e9:.0f} GFLOP/s ({origin}), {time.ctime()}"
