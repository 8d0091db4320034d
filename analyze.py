"""Looks into a trained run: numbers as JSON, and a picture beside them.

    python analyze.py --workdir=runs/bert --what=attention --text="The cat sat on the mat because it was warm."
    python analyze.py --workdir=runs/bert --what=context --word=bank --first="..." --second="..."
    python analyze.py --what=attention --help

--what is one of attention, collapse, context, distance, landscape, layers; docs/analysis.md says what each shows. Files
are written into --output, by default the folder analysis/ of the run. Exit codes: 0 done, 2 bad usage, 3 bad or missing
data, 5 checkpoint corrupt.
"""

import json
import pathlib
import re
import sys

from absl import flags

from cloze import cli
from cloze.analysis import ANALYSES

REQUIRED = ("workdir", "what")  # flags


def asked(arguments):
    """The value of --what on a command line; "" without one."""
    return next((found[1] for one in arguments if (found := re.fullmatch(r"--?what=(.*)", one))), "")


WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run.")
WHAT = flags.DEFINE_string("what", "", f"The analysis: {', '.join(ANALYSES)}; with --help its options.")
OUTPUT = flags.DEFINE_string("output", "", "Folder for the numbers and the picture; default: analysis/ of the run.")
STEP = flags.DEFINE_string(
    "step", "newest", "Which checkpoint: newest, best (by the run's checkpoint.best), or the number of a step."
)
if asked(sys.argv[1:]) in ANALYSES:
    cli.define_options(ANALYSES[asked(sys.argv[1:])])


def main():
    """Loads the run, looks at it, writes what was found."""
    from cloze.training import restore, runs

    kind = ANALYSES[WHAT.value]
    analysis = kind(**cli.given(kind))
    cli.start_jax(runs.load_config(WORKDIR.value).train.compile_cache)
    result = analysis.run(restore.load(WORKDIR.value, which=STEP.value), print)
    print("\n".join(result.lines))
    folder = pathlib.Path(OUTPUT.value or pathlib.Path(WORKDIR.value) / "analysis")
    folder.mkdir(parents=True, exist_ok=True)
    numbers, picture = folder / f"{WHAT.value}.json", folder / f"{WHAT.value}{kind.picture}"
    numbers.write_text(json.dumps(result.numbers) + "\n")
    result.draw(picture)
    print(f"Numbers: {numbers}\nPicture: {picture}")


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
