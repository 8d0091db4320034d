"""From the command to the first finished step: without kept programs, keeping them, and with them.

    python -m benchmarks.start [--config=bert_base] [--rounds=3]

`python train.py` for a model of full size on 8 rows of 128 tokens, data and tokenizer prepared, is stopped when it has
logged its first step. "none" keeps no compiled programs, "cold" keeps them in an empty folder, "warm" finds them there.
The three take turns. Times are those at which lines of the log come:

* begun: Python, imports, the start-up check; until "Run in";
* built: configuration, tokenizer, data, shapes; until the data are named;
* state: parameters and optimizer state, as far as their making does not go on behind what follows;
* step: traced, and compiled or read back;
* first: the matrix product that `mfu` is against, and the first step, which also takes the memory of a step.
"""

import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks import tables

CONFIG = flags.DEFINE_string("config", "bert_base", "Name of a file in configs/, with arguments after a colon.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of the three.", lower_bound=1)
OVERRIDES = flags.DEFINE_list("set", [], "Further options, such as model.layers=2.")
PARTS = ("begun", "built", "state", "step", "first")
SIDES = ("none", "cold", "warm")
FIXED = ("train.batch_size=8", "train.microbatches=1", "data.sequence_length=128", "model.remat=none")
ENDS = {"begun": "Run in ", "built": "Data ", "compiled": "Compiled the step", "first": "step 1/"}


def command(verb, *more):
    """The command line of a verb."""
    name, _, arguments = CONFIG.value.partition(":")
    config = f"--config=configs/{name}.py:{arguments}"
    return [sys.executable, verb, config, *(f"--config.{option}" for option in (*FIXED, *OVERRIDES.value)), *more]


def start(folder, cache):
    """{part: seconds} of a start in a new workdir, with compiled programs in `cache` (None: nowhere)."""
    workdir, ends = folder / "run", {}
    line = command("train.py", f"--workdir={workdir}", f"--config.train.compile_cache={cache or ''}")
    began = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    for said in process.stdout:
        name = next((name for name, begin in ENDS.items() if said.startswith(begin)), None)
        if name:
            ends[name] = time.perf_counter() - began
        if name == "compiled":
            step = float(re.search(r" in ([\d.]+) s", said)[1])
        if name == "first":
            break
    process.kill()
    process.wait()
    shutil.rmtree(workdir)
    if "first" not in ends:
        raise SystemExit("the run has ended before its first step; see above")
    state = ends["compiled"] - step - ends["built"]
    times = (ends["begun"], ends["built"] - ends["begun"], state, step, ends["first"] - ends["compiled"])
    return dict(zip(PARTS, times, strict=True))


def main(argv):
    """Starts in turns, and prints medians."""
    del argv
    subprocess.run(command("prepare.py"), check=True, stdout=subprocess.DEVNULL)
    found = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for _ in range(ROUNDS.value):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for side in SIDES:
                found[side].append(start(folder, None if side == "none" else folder / "cache"))
    totals = {side: statistics.median(sum(times.values()) for times in found[side]) for side in SIDES}
    print(tables.heading())
    print(tables.head("start", *PARTS, "in all", "of a cold one", "before the first step", "of a cold one"))
    ready = {side: totals[side] - statistics.median(times["first"] for times in found[side]) for side in SIDES}
    for side in SIDES:
        parts = [f"{statistics.median(times[part] for times in found[side]):.1f} s" for part in PARTS]
        shares = [f"{values[side] / values['cold']:.2f}" for values in (totals, ready)]
        print(tables.row(side, *parts, f"{totals[side]:.1f} s", shares[0], f"{ready[side]:.1f} s", shares[1]))


if __name__ == "__main__":
    app.run(main)
