"""Runs the benchmarks and puts what they print into docs/benchmarks.md.

    python -m benchmarks.all                        # hours, on a quiet machine
    python -m benchmarks.all --only=input,start     # some of them
    python -m benchmarks.all --list                 # what would be run

Each benchmark is a command of its own, which prints Markdown; that replaces the text between the markers of its name in
the page, as soon as it is there. Text outside of markers stays. A benchmark that fails leaves its table as it was; the
others go on, and the command ends with 1.
"""

import pathlib
import shlex
import subprocess
import sys

from absl import app, flags

from benchmarks import tables
from cloze import storage

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "benchmarks.md"
COMMANDS = {  # {markers in the page: module of this folder and its flags}, in the order in which they are run
    "learning": "learning --config=bert_base --config=gpt2 --config=t5",
    "train_step": "train_step --rounds=3",
    "step_profile": "step_profile --only=gpt2",
    "ragged": "ragged --rounds=3",
    "input": "input",
    "start": "start",
    "depth": "depth",
    "together": "together",
    "decode": "decode --rounds=5",
    "loading": "loading",
}
ONLY = flags.DEFINE_list("only", [], f"Benchmarks, of {', '.join(COMMANDS)}; empty: all.")
LIST = flags.DEFINE_bool("list", False, "Print the commands and end.")
flags.register_validator("only", lambda names: set(names) <= COMMANDS.keys(), f"known are {', '.join(COMMANDS)}")


def run(name):
    """What a benchmark prints, which is shown as well; None: it failed."""
    command = [sys.executable, "-m", *shlex.split(f"benchmarks.{COMMANDS[name]}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = []
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return None if process.returncode else "".join(printed)


def main(argv):
    """Runs one after the other."""
    del argv
    failed = []
    for name in ONLY.value or COMMANDS:
        print(f"{name}: python -m benchmarks.{COMMANDS[name]}", flush=True)
        if LIST.value:
            continue
        tables.replace(PAGE.read_text(), name, "")  # refuses a page without markers before the benchmark has run
        printed = run(name)
        if printed is None:
            failed.append(name)
            continue
        with storage.whole(PAGE) as partial:
            partial.write_text(tables.replace(PAGE.read_text(), name, printed))
    if failed:
        raise SystemExit(f"failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    app.run(main)
