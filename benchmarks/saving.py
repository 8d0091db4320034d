"""What a checkpoint costs the steps around it, and the host's memory.

    python -m benchmarks.saving                              # BERT-base, 8 rows of 128 tokens
    python -m benchmarks.saving --set=model.preset=large --saves=3

In each round a few steps are taken without a save; then a checkpoint is begun, and steps go on until it is whole. What
the save costs is the time for which it blocks the loop, and what the steps beside it take longer. The table has that
cost as a share of the steps between two checkpoints (checkpoint.every), the first save apart, which also compiles.
Host memory is the growth of the largest resident set from the first step on; on a CPU the state and the temporaries of
steps lie there as well.
"""

import logging
import pathlib
import resource
import statistics
import tempfile
import time

import jax
from absl import app, flags

from benchmarks import runs
from benchmarks.train_step import OVERRIDES, full_size
from cloze.training.checkpoint import Checkpoints
from cloze.training.retention import Retention

EXPERIMENT = flags.DEFINE_string("experiment", "bert_base", "Name of a file in configs/.")
TIMES = flags.DEFINE_integer("saves", 4, "Checkpoints; the first is not counted.", lower_bound=2)
ALONE = 4  # steps without a save in a round


def peak_memory():
    """Bytes of the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Run:
    """A program with its state, of which steps are taken one by one."""

    def __init__(self, program):
        self.program, self.run = program, program.run
        self.state = program.new_state(runs.silent)
        self.rows = self.run.rows(self.run.data["train"], 0)
        with self.run.context():
            self._step, _, _ = program.train_step(self.rows, runs.silent)

    def step(self):
        """Seconds of a step."""
        began = time.perf_counter()
        self.state, metrics = self._step(self.state, self.rows, self.run.keys)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - began


def measure(run, directory):
    """(seconds of steps alone, [(seconds that a save blocks, until it is whole, [seconds of steps beside it])])."""
    checkpoints, facts = Checkpoints(directory, Retention(1)), run.run.facts()
    run.step()
    alone, saves = [], []
    for number in range(1, TIMES.value + 1):
        alone += [run.step() for _ in range(ALONE)]
        began = time.perf_counter()
        saved = run.program.saved_parameters(run.state)
        checkpoints.save(number, saved, run.state.opt_state, facts, run.state.ema)
        del saved
        blocked, beside = time.perf_counter() - began, []
        while number not in checkpoints.steps():
            beside.append(run.step())
            checkpoints.check()
        saves.append((blocked, time.perf_counter() - began, beside))
    checkpoints.close()
    return alone, saves[1:]


def main(argv):
    """Prints the table."""
    del argv
    logging.getLogger("absl").setLevel(logging.WARNING)  # Orbax tells each file
    print(runs.machine())
    run = Run(full_size(EXPERIMENT.value, OVERRIDES.value))
    every = run.run.config.checkpoint.every
    run.step()
    before = peak_memory()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((run.state.trainable, run.state.frozen, run.state.opt_state)))
    with tempfile.TemporaryDirectory() as directory:
        alone, saves = measure(run, pathlib.Path(directory) / "checkpoints")
    step = statistics.median(alone)
    blocked, whole = (statistics.median(save[part] for save in saves) for part in (0, 1))
    beside = statistics.median(sum(save[2]) - step * len(save[2]) for save in saves)
    print(
        "| config | state | step | a save blocks | whole after | steps beside it lose | host memory | cost of a step |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {EXPERIMENT.value} | {size / 2**30:.2f} GiB | {step:.2f} s | {blocked:.2f} s | {whole:.1f} s "
        f"| {beside:.2f} s | +{(peak_memory() - before) / 2**30:.2f} GiB "
        f"| {(blocked + max(beside, 0)) / (every * step):.2%} at checkpoint.every={every} |"
    )


if __name__ == "__main__":
    app.run(main)
