"""Writes the report of a run or a sweep: one HTML file that needs no network.

    python report.py --workdir=runs/demo
    python report.py --workdir=runs/bert,runs/gpt2,runs/mask_rate

train.py writes that of its run when it ends, sweep.py that of the sweep; this writes them anew, also of a run that is
going on or has been stopped. Each lies in its --workdir, report.html. Exit codes: 0 done, 2 there is no run.
"""

import pathlib

from absl import flags

from cloze import cli

REQUIRED = ("workdir",)  # flags

WORKDIR = flags.DEFINE_list("workdir", [], "Directories of runs or sweeps, separated by commas.")


def main():
    """Writes the reports, and says where they are."""
    from cloze.reports import run, sweep
    from cloze.sweeps import planned

    for workdir in map(pathlib.Path, WORKDIR.value):
        if (workdir / planned.FILE).is_file():
            print(sweep.write(planned.kept(workdir)[0], workdir))
        else:
            print(run.write(workdir))


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
