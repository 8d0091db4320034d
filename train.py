"""Trains a model from a configuration.

    python train.py --config=configs/bert_base.py:tiny --workdir=runs/bert_tiny
    python train.py --config=configs/gpt2.py --config.train.batch_size=8 --config.data.sequence_length=128
    python train.py --config=configs/gpt2.py --describe

The same command again resumes where the run stopped. Options that decide what is learned must be the same then, unless
--allow_changes=optimizer.learning_rate,data names them or their sections; --describe says which may change anyway.

In --workdir: config.json, metrics.jsonl, tensorboard/, checkpoints/, tokenizer/, log.txt, report.html. --describe
prints every option with its value and what it means. Exit codes: 0 done, 2 bad configuration, 3 bad data, 4 diverged,
5 checkpoint corrupt, 74 cannot write, 75 stopped by a signal after saving.
"""

import contextlib
import pathlib
import time

from absl import flags
from ml_collections import config_flags

from cloze import cli

REQUIRED = ("config",)  # flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, and after a colon its arguments.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run lives; default: runs/<config name>-<arguments>.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print every option with its value and what it means, and end.")
ALLOW_CHANGES = flags.DEFINE_list(
    "allow_changes", [], "Options, or sections of them, that may have other values than the run in --workdir has had."
)
cli.define_process_flags()


def main():
    """Builds the run, restores or makes its state, compiles the step, and runs the loop."""
    if DESCRIBE.value:
        from cloze.configs import base

        print("\n".join(base.describe(CONFIG.value)))
        return
    began = time.perf_counter()
    cli.start_jax(CONFIG.value.train.compile_cache)

    import jax

    from cloze.configs import base
    from cloze.parallel.processes import decide
    from cloze.reports import run as report_run
    from cloze.training import describe, history, plan_search, resolve
    from cloze.training.checkpoint import Checkpoints
    from cloze.training.goodput import Goodput, last_line
    from cloze.training.run import build, retention_of
    from cloze.training.workdir import Workdir

    path = pathlib.Path(WORKDIR.value or default_workdir())
    config = resolve.resolve(CONFIG.value, kept=path / "config.json")
    directory = Workdir(path, base.to_dict(config), ALLOW_CHANGES.value)
    decide(directory.open)
    log = cli.Log(directory.path / "log.txt", active=jax.process_index() == 0)
    devices = f"{jax.device_count()} {jax.devices()[0].device_kind} device(s)"
    log(f"Run in {directory.path} on {devices}, jax {jax.__version__}")
    describe.differences_from_base(config, log)
    for line in directory.changed:
        log(f"Changed: {line}")

    run = build(config, directory.tokenizer if directory.has_learned else None, report=log)
    directory.keep_config()
    directory.keep_tokenizer(run.tokenizer)
    directory.keep_facts(history.facts(run, *given()))
    describe.run_lines(run.program(), log)

    checkpoints = Checkpoints(directory.checkpoints, retention_of(run))
    start = decide(lambda: find_start(checkpoints, log))
    last = run.durations["steps"]
    if start is not None and start >= last:
        log(f"The run is finished: {start} of {last} steps are done. Raise --config.train.steps to go on.")
        return
    try:
        train(run, directory, checkpoints, start, log, Goodput(began, last_line(directory.path / "metrics.jsonl")))
    except jax.errors.JaxRuntimeError as error:
        if (refused := plan_search.out_of_memory(error, run)) is None:
            raise
        raise refused from None
    finally:
        checkpoints.close()
        directory.close()
    if jax.process_index() == 0:
        log(f"Report: {report_run.write(directory.path)}")


def given():
    """(the config file with its arguments, [(option, its value there, its value by the command line)])."""
    from cloze.configs import base
    from cloze.training.workdir import differences

    source = flags.FLAGS["config"].config_filename
    plain = cli.read_config([f"--config={source}"])
    return source, differences(base.to_dict(plain), base.to_dict(CONFIG.value))


def find_start(checkpoints, log):
    """The step of the newest whole checkpoint, or None; damaged ones after it are set aside, their steps come again.

    A checkpoint of step 0 is there when the run goes on from converted parameters.
    """
    checkpoints.clear_partial()
    start = checkpoints.latest_whole(log)
    checkpoints.set_aside_after(start or 0, log)
    return start


def train(run, directory, checkpoints, start, log, account):
    """Trains to the end, going back where it must; the caller closes directory and checkpoints.

    Args:
        run: training.run.Run.
        directory: training.workdir.Workdir.
        checkpoints: training.checkpoint.Checkpoints.
        start: updates made so far; None: begins with new parameters.
        log: called with lines for the console and the log.
        account: training.goodput.Goodput.
    """
    from cloze.training.divergence import Rewound

    while True:
        try:
            train_from(run, directory, checkpoints, start, log, account)
            break
        except Rewound as rewound:
            start = rewound.step
        account.restart()
    log(f"Done: {run.durations['steps']} steps. Curves: {directory.path / 'metrics.jsonl'} and "
        f"tensorboard --logdir={directory.path / 'tensorboard'}")  # fmt: skip


def train_from(run, directory, checkpoints, start, log, account):
    """Restores or makes the state, and trains or solves to the end; arguments as of `train`."""
    from cloze.training import features, probe

    seal = None if start is None else checkpoints.read_seal(start)
    if seal is None:
        program, facts = run.program(), run.facts()
        solved = probe.is_solved(program, log)
        state = program.new_state(log)
    else:
        check_seal(run, seal, log)
        program, facts = run.program(seal.get("stage", 0)), run.facts(seal)
        solved = probe.is_solved(program, log)
        state = program.restore(checkpoints, start, log)
    program, state = features.with_features(program, state, start is None, log)
    told = dict(checkpoints=checkpoints, facts=facts, report=log)
    if solved:
        with contextlib.closing(writer_of(directory, start, log)) as writer:
            probe.solve(program, state, writer=writer, **told)
    else:
        walk(program, state, directory, start, account, seal=seal, **told)


def walk(program, state, directory, start, account, *, report, **told):
    """Compiles the step and runs the loop to the end; `told` and `report` are arguments of training.loop.fit."""
    import jax

    from cloze.errors import DivergedError, Preempted
    from cloze.parallel import cost
    from cloze.training import goodput
    from cloze.training.divergence import Rewound
    from cloze.training.loop import Progress, fit

    run = program.run
    program.train_step(run.rows(run.data["train"], start or 0), report)
    report(f"Ready {account.since_start():.1f} s after the start")
    rate, origin = cost.peak_rate(program.model.config.dtype)
    report(f"mfu is against {cost.human(rate)}FLOP/s per device, from {origin}")

    progress = Progress(rate * jax.device_count(), run.durations["steps"])
    with contextlib.closing(writer_of(directory, start, report)) as writer:

        def end():
            writer.write(account.step, goodput.SPLIT, account.values())
            report(account.summary())

        try:
            fit(program, state, start=start or 0, writer=writer, progress=progress, report=report, account=account,
                traces=directory.path / "profile", **told)  # fmt: skip
        except Rewound:
            writer.write(account.step, goodput.SPLIT, account.values())
            raise
        except (Preempted, DivergedError):
            end()
            raise
        end()


def writer_of(directory, start, report):
    """What metrics are written to: in the first process a file, which keeps those of steps up to `start`."""
    import jax

    from cloze.training.metrics import MetricWriter, NoWriter

    return MetricWriter(directory.path, start or 0, report) if jax.process_index() == 0 else NoWriter()


def check_seal(run, seal, log):
    """Refuses to go on from a checkpoint with another tokenizer, and says so where the data have changed."""
    from cloze.training.checkpoint import check_tokenizer

    check_tokenizer(seal, run.tokenizer)
    step, fingerprint = seal["step"], run.data["train"].fingerprint
    data = seal.get("data")
    if data is not None and data != fingerprint:
        log(
            f"Warning: the data have changed since step {step} (then {data[:16]}): files, packages or "
            "options differ, so this is not the run that it would have been"
        )
    log(f"Resuming after step {step}")


def default_workdir():
    """runs/<config name>-<arguments>."""
    path, _, arguments = flags.FLAGS["config"].config_filename.partition(":")
    name = pathlib.Path(path).stem
    suffix = "".join(c if c.isalnum() or c in "=_." else "-" for c in arguments)
    return pathlib.Path("runs") / (f"{name}-{suffix}" if suffix else name)


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
