"""The commands of docs/quick_start.md, run as they stand there, and their output put under them.

    python -m benchmarks.quick_start                        # about ten minutes on two CPU cores
    python -m benchmarks.quick_start --only=generate,plan   # these alone, with the runs of an earlier time

Runs are made in --directory, which is emptied first if all commands are run.
"""

import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import tables
from cloze import storage

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quick_start.md"
DIRECTORY = flags.DEFINE_string("directory", "runs/quick_start", "where the runs are made")
ONLY = flags.DEFINE_list("only", [], "sections, comma separated; none: all, from the beginning")
LONGEST = 110  # columns of a line, longer ones are cut

# Of each section: the command, how many lines of its output are shown from the beginning and from the end.
COMMANDS = {
    "train": ("python train.py --config=configs/demo.py --workdir=runs/demo", 0, 8),
    "generate": (
        "python generate.py --workdir=runs/demo --prompt='Return the number [MASK] items in the list.' "
        "--prompt='An array [MASK] integers.'", 0, 8,
    ),
    "finetune": (
        "python train.py --config=configs/finetune/classify.py:tiny,task=package --workdir=runs/package "
        "--config.init.checkpoint=runs/demo --config.train.steps=300", 0, 5,
    ),
    "evaluate": ("python eval.py --workdir=runs/package --task=package --split=test", 0, 6),
    "probes": ("python eval.py --workdir=runs/demo --task=probes", 9, 4),
    "analyze": (
        "python analyze.py --workdir=runs/demo --what=attention --text='Return the number of items in the list.'",
        0, 6,
    ),
    "sweep": (
        "python sweep.py --sweep=configs/sweeps/mask_rate.py --workdir=runs/mask_rate --dry_run", 2, 1,
    ),
    "plan": ("python plan.py --config=configs/gpt3.py:size=6.7b --topology=h100:64 --estimate", 0, 12),
    "convert": ("python convert.py to_hf --workdir=runs/demo --target=runs/demo-hf", 0, 2),
}  # fmt: skip


def run(command: str, directory: pathlib.Path) -> list[str]:
    """The lines that a command prints, run where the page says.

    Args:
        command: of a verb of this repository.
        directory: that holds configs/ and in which runs/ is made.

    Raises:
        SystemExit: it ended with another code than 0; its output is the message.
    """
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{command}\nended with {done.returncode}:\n{done.stdout}")
    return [line.rstrip() for line in done.stdout.splitlines()]


def shown(lines: list[str], first: int, last: int) -> list[str]:
    """The first and the last lines, with a mark of what is left out between them."""
    if len(lines) > first + last:
        lines = [*lines[:first], "...", *lines[len(lines) - last :]]
    return [line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..." for line in lines]


def main(argv):
    """Runs the commands in their order and writes the page after each."""
    del argv
    directory = pathlib.Path(DIRECTORY.value).absolute()
    if not ONLY.value:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    for entry in (*ROOT.glob("*.py"), ROOT / "configs"):  # as in a clone, but for runs/
        if not (directory / entry.name).exists():
            (directory / entry.name).symlink_to(entry)
    for name in ONLY.value or COMMANDS:
        command, first, last = COMMANDS[name]
        began = time.monotonic()
        lines = shown(run(command, directory), first, last)
        seconds = time.monotonic() - began
        block = "\n".join(["```", f"$ {command}", *lines, "```"])
        with storage.whole(PAGE) as partial:
            partial.write_text(tables.replace(PAGE.read_text(), name, block))
        print(f"{name}: {seconds:.0f} s")
    if not ONLY.value:
        with storage.whole(PAGE) as partial:
            partial.write_text(tables.replace(PAGE.read_text(), "made", tables.heading()))


if __name__ == "__main__":
    app.run(main)
