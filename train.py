"""Trains a model from a configuration.

    python train.py --config=configs/bert_base.py:tiny --workdir=runs/bert_tiny
    python train.py --config=configs/gpt2_small.py --config.train.batch_size=8 --config.data.sequence_length=128

The same command again resumes where the run stopped. In --workdir: config.json, metrics.jsonl, tensorboard/,
checkpoints/, tokenizer/, log.txt. Exit codes: 0 done, 2 bad configuration, 3 bad data, 4 diverged, 5 checkpoint
corrupt, 75 stopped by a signal after saving.
"""

import pathlib
import time

from absl import flags
from ml_collections import config_flags

import cli

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, and after a colon its arguments.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run lives; default: runs/<config name>-<arguments>.")
cli.define_process_flags()


def main():
    """Builds the experiment, restores or makes its state, compiles the step, and runs the loop."""
    began = time.perf_counter()
    config = CONFIG.value
    cli.start_jax(config.train.compile_cache)

    import jax

    from configs import base
    from training import experiment as experiments
    from training.checkpoint import Checkpoints
    from training.workdir import Workdir

    first = jax.process_index() == 0
    directory = Workdir(WORKDIR.value or default_workdir(), base.to_dict(config), writer=first)
    log = cli.Log(directory.path / "log.txt", active=first)
    devices = f"{jax.device_count()} {jax.devices()[0].device_kind} device(s)"
    log(f"Run in {directory.path} on {devices}, jax {jax.__version__}")
    describe_differences(config, log)

    experiment = experiments.build(config, directory.tokenizer, report=log)
    directory.keep_tokenizer(experiment.tokenizer)
    describe_experiment(experiment, log)

    checkpoints = Checkpoints(directory.checkpoints, config.checkpoint.keep)
    start = checkpoints.latest_whole(log) or 0
    last = experiment.durations["steps"]
    if start >= last:
        log(f"The run is finished: {start} of {last} steps are done. Raise --config.train.steps to go on.")
        return
    try:
        train(experiment, directory, checkpoints, start, log, began)
    finally:
        checkpoints.close()
        directory.close()


def train(experiment, directory, checkpoints, start, log, began):
    """Runs the loop from `start` to the end; the directory and checkpoints are closed by the caller."""
    import jax

    from configs import base
    from parallel import cost
    from training.loop import Progress, fit, human
    from training.metrics import MetricWriter, NoWriter

    state = restore(experiment, checkpoints, start, log) if start else experiment.new_state()

    compiling = time.perf_counter()
    traced = experiment.trace_train_step()
    flops = cost.count_flops(traced.jaxpr)
    with experiment.context():
        train_step = traced.lower().compile()
    now = time.perf_counter()
    log(f"Compiled the step in {now - compiling:.1f} s, {now - began:.1f} s after the start")
    rate, origin = cost.peak_rate(experiment.model.config.dtype)
    if memory := cost.memory(train_step):
        log("Memory per device: " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in memory.items()))
    log(f"{human(flops)}FLOP per step; mfu is against {human(rate)}FLOP/s per device, from {origin}")

    meta = {"config": base.to_dict(experiment.config), "tokenizer": experiment.tokenizer.hash}
    writer = MetricWriter(directory.path, start) if jax.process_index() == 0 else NoWriter()
    progress = Progress(flops, rate * jax.device_count(), experiment.durations["steps"])
    try:
        fit(
            experiment, state, train_step,
            start=start, checkpoints=checkpoints, writer=writer, progress=progress, meta=meta, report=log,
        )  # fmt: skip
    finally:
        writer.close()
    log(f"Done: {experiment.durations['steps']} steps. Curves: {directory.path / 'metrics.jsonl'} and "
        f"tensorboard --logdir={directory.path / 'tensorboard'}")  # fmt: skip


def restore(experiment, checkpoints, step, log):
    """The state of a checkpoint, placed on the mesh."""
    from errors import ConfigError

    stored = checkpoints.read_seal(step)["tokenizer"]
    if stored != experiment.tokenizer.hash:
        raise ConfigError(
            f"the checkpoint of step {step} was trained with another tokenizer (hash {stored[:12]}, this one "
            f"{experiment.tokenizer.hash[:12]}): restore the run's tokenizer/ directory, or choose another --workdir"
        )
    log(f"Resuming after step {step}")
    return experiment.restore(checkpoints, step)


def default_workdir():
    """runs/<config name>-<arguments>."""
    path, _, arguments = flags.FLAGS["config"].config_filename.partition(":")
    name = pathlib.Path(path).stem
    suffix = "".join(c if c.isalnum() or c in "=_." else "-" for c in arguments)
    return pathlib.Path("runs") / (f"{name}-{suffix}" if suffix else name)


def describe_differences(config, log):
    """What the configuration changes in configs/base.py."""
    from configs import base
    from training.workdir import differences

    log("Configuration, where it differs from configs/base.py:")
    for key, _, value in differences(base.to_dict(base.get_base()), base.to_dict(config)):
        log(f"  {key} = {value!r}")


def describe_experiment(experiment, log):
    """Data, parameters and where they live."""
    from training.describe import parameter_table

    for line in parameter_table(experiment):
        log(line)
    log(f"Data {experiment.fingerprint[:16]}: {experiment.batches.description}")


if __name__ == "__main__":
    cli.run(main, __doc__, required=("config",))
