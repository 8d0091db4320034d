"""Trains many runs that differ in a few options, and says what came out of them.

    python sweep.py --sweep=configs/sweeps/mask_rate.py --workdir=runs/mask_rate
    python sweep.py --sweep=configs/sweeps/mask_rate.py --dry_run              # names of the runs and their options
    python sweep.py --workdir=runs/mask_rate --report                          # all that anew, of what has been trained

A sweep file is Python: its function sweep() returns the runs, as the combinators of cloze.sweeps make them:

    from cloze.sweeps import product

    def sweep():
        return product({"config": "configs/bert.py:tiny", "objective.mask_rate": [0.15, 0.4]}, seed=[0, 1, 2])

Each run is train.py in a process of its own, in --workdir/NAME, --parallel of them at a time. A value that is itself a
run stands for that run's directory; it is trained first, in the folder `bases` beside --workdir. The same command again
skips finished runs, resumes interrupted ones, and with --retry tries failed ones again. In --workdir: results.csv and
results.jsonl (a row for each run), table.md (means over seeds) and report.html. docs/sweeps.md says more.
Exit codes: 0 done, 2 bad sweep, 75 stopped by a signal or a run was interrupted, else that of the first failed run.
"""

import collections
import contextlib
import os
import pathlib
import shlex
import sys

from absl import flags

from cloze import cli, storage
from cloze.errors import ConfigError, Preempted, RunsFailed

REQUIRED = ()  # flags: --sweep, or --workdir with --report

SWEEP = flags.DEFINE_string("sweep", "", "The sweep file.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the sweep lives; default: runs/<name of the sweep file>.")
PARALLEL = flags.DEFINE_integer("parallel", 1, "Runs at a time; each sees all devices.", lower_bound=1)
RETRY = flags.DEFINE_bool("retry", False, "Try the runs again that have failed.")
DRY_RUN = flags.DEFINE_bool(  # launch.py, which knows the flags of verbs, has one of its own
    "dry_run", False, "Print the runs and their options, and train nothing.", allow_override=True
)
REPORT = flags.DEFINE_bool("report", False, "Make the results anew from the runs' directories, and train nothing.")
STUDY = flags.DEFINE_bool("study", False, "Write the section of the sweep's study into docs/studies.md at the end.")
INDEX = flags.DEFINE_integer("index", None, "Train this run alone, from 0, as a scheduler starts it.", lower_bound=0)


def main():
    """Checks all runs, trains those that are not finished, and writes the results."""
    from cloze.sweeps import planned

    runs, told, directory = asked()
    if STUDY.value and told is None:
        raise ConfigError("--study needs --sweep=FILE of a sweep file that defines STUDY (docs/sweeps.md)")
    if REPORT.value:
        report_runs(runs, directory)
        show(runs, directory)
    elif INDEX.value is not None:
        become(runs, directory)
    else:
        configs = planned.checked(runs, directory)
        if DRY_RUN.value:
            for run in planned.with_bases(runs):
                print(f"{run.path(directory)}\n    {shlex.join(run.flags(directory))}")
            print(counted(runs))
            return
        with locked(directory):
            planned.keep(runs, directory, SWEEP.value)
            train(runs, configs, directory)
    if STUDY.value:
        write_study(told, runs, directory)


def asked():
    """(the runs of the sweep, its study or None, its directory)."""
    from cloze.sweeps import planned

    if SWEEP.value:
        return *planned.read(SWEEP.value), pathlib.Path(WORKDIR.value) if WORKDIR.value else default_workdir()
    if not (REPORT.value and WORKDIR.value):
        raise ConfigError("--sweep=FILE is required; without it, --report needs --workdir (see --help)")
    directory = pathlib.Path(WORKDIR.value)
    return planned.kept(directory)[0], None, directory


def default_workdir():
    """runs/<name of the sweep file>."""
    return pathlib.Path("runs") / pathlib.Path(SWEEP.value).stem


@contextlib.contextmanager
def locked(directory):
    """Holds the lock of the sweep's directory.

    Raises:
        ConfigError: another process has it.
    """

    def refuse():
        raise ConfigError(
            f"--workdir={directory} is in use by another sweep: wait for it, stop it, or choose another --workdir"
        )

    directory.mkdir(parents=True, exist_ok=True)
    with storage.lock(directory / "lock", refuse):
        yield


def train(runs, configs, directory):
    """Trains what is to be trained; the results are written whenever a run has ended."""
    from cloze.sweeps import planned, processes, results

    everything = planned.with_bases(runs)
    if RETRY.value:
        for run in everything:
            storage.remove(run.path(directory) / processes.FAILED)
    states = {run.name: processes.state_of(run, directory, configs[run.name]) for run in everything}
    counts = collections.Counter(states[run.name].status for run in runs)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    print(f"{counted(runs)} in {directory}: {told}", flush=True)
    unfinished = planned.with_bases([run for run in runs if states[run.name].status == processes.UNFINISHED])
    waiting = [run for run in unfinished if states[run.name].status == processes.UNFINISHED]
    try:
        processes.train(
            waiting, directory, PARALLEL.value, lambda line: print(line, flush=True),
            ended=lambda: results.write(runs, directory),
        )  # fmt: skip
    finally:
        show(runs, directory)
    judge(everything, directory)


def counted(runs):
    """How many runs, and how many that these begin with, in words."""
    from cloze.sweeps import planned

    others = len(planned.with_bases(runs)) - len(runs)
    told = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return f"{told}, and {others} to begin with" if others else told


def report_runs(runs, directory):
    """Writes the report of each run that has begun."""
    from cloze.reports import run as report

    for run in runs:
        if (run.path(directory) / "config.json").is_file():
            report.write(run.path(directory))


def show(runs, directory):
    """Writes the results and the report, prints the table and the runs that have failed."""
    from cloze.reports import sweep as report
    from cloze.sweeps import planned, processes, results

    rows = results.write(runs, directory)
    print("\n".join(["", *results.table(rows), ""]))
    for run in planned.with_bases(runs):
        state = processes.state_of(run, directory)
        if state.status == processes.BROKEN:
            print(f"{run.name} has failed with exit code {state.code}: {state.message}")
    print(f"Results: results.csv, results.jsonl and table.md in {directory}", flush=True)
    print(f"Report: {report.write(runs, directory)}", flush=True)


def write_study(told, runs, directory):
    """Puts the section of a study into docs/studies.md, with the results of the runs' directories.

    Raises:
        ConfigError: there are settings without a finished run.
    """
    from cloze.sweeps import results, study

    name = pathlib.Path(SWEEP.value).stem
    study.put(cli.HERE / study.PAGE, name, told.title, results.study_section(told, runs, directory, SWEEP.value))
    print(f"Study: {cli.HERE / study.PAGE}, between the markers of {name}")


def judge(runs, directory):
    """Raises what a sweep ends with of which not all runs have finished."""
    from cloze.sweeps import processes

    states = [processes.state_of(run, directory) for run in runs]
    if failed := [state for state in states if state.status == processes.BROKEN]:
        raise RunsFailed(
            f"{len(failed)} of {len(runs)} runs have failed, see above; --retry tries them again", failed[0].code
        )
    if left := sum(state.status == processes.UNFINISHED for state in states):
        raise Preempted(f"{left} of {len(runs)} runs were interrupted; give the same command again to go on")


def become(runs, directory):
    """Is train.py for one run from here on.

    Raises:
        ConfigError: there is no such run, or one that it begins with is not finished.
    """
    from cloze.sweeps import processes

    if INDEX.value >= len(runs):
        raise ConfigError(f"--index={INDEX.value}: the sweep has {len(runs)} runs, the first of which is 0")
    run = runs[INDEX.value]
    for base in run.bases:
        if processes.state_of(base, directory).status != processes.FINISHED:
            raise ConfigError(
                f"{run.name} begins with {base.path(directory)}, which is not finished: leave out --index"
            )
    command = [*cli.local_program("train", cli.checkout()), *run.flags(directory), f"--workdir={run.path(directory)}"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    cli.run(main, __doc__)
