"""The loop: step, log, validate, save, stop in time."""

import math
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from data.batches import Prefetcher
from errors import DivergedError, Preempted


class StopSignal:
    """Notes SIGTERM and SIGINT while active, so that the loop can save before it ends.

    In a multi-process run JAX's own handler agrees between the processes on a step at which all of them stop.
    """

    def __init__(self):
        self._received = False
        self._old = {}

    def __enter__(self):
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self._received:  # a second signal means it
            raise KeyboardInterrupt
        self._received = True

    def at(self, step):
        """Whether the run is to stop after this step; the same answer in every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._received


class Progress:
    """Rates over the steps since the last report; time spent validating and saving does not count.

    Args:
        flops_per_step: operations of the compiled step, over all devices.
        peak: FLOP/s of all devices together.
        last_step: step at which the run ends.
    """

    def __init__(self, flops_per_step, peak, last_step):
        self._flops, self._peak, self._last = flops_per_step, peak, last_step
        self._start = time.perf_counter()
        self._tokens = self._steps = 0

    def count(self, tokens):
        self._tokens += tokens
        self._steps += 1

    def pause(self, seconds):
        """Takes time out of the account."""
        self._start += seconds

    def report(self, step):
        """{"tokens_per_second", "mfu", "seconds", "eta_seconds"} since the last report; "seconds" is per step."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        seconds = elapsed / max(self._steps, 1)
        rates = {
            "tokens_per_second": self._tokens / elapsed,
            "mfu": self._flops / seconds / self._peak,
            "seconds": seconds,
            "eta_seconds": seconds * (self._last - step),
        }
        self._start = time.perf_counter()
        self._tokens = self._steps = 0
        return rates


def fit(experiment, state, train_step, *, start, checkpoints, writer, progress, meta, report):
    """Trains from step `start` to the end of the run.

    Metrics of a step are read when the next step is under way. A checkpoint is taken only of a state whose last
    loss and gradient were finite.

    Args:
        experiment: training.experiment.Experiment.
        state: TrainState after `start` updates; donated.
        train_step: compiled (state, rows, keys) -> (state, metrics).
        start: updates made so far.
        checkpoints: training.checkpoint.Checkpoints.
        writer: training.metrics.MetricWriter.
        progress: Progress.
        meta: JSON dict that goes into each checkpoint's seal.
        report: called with lines for the console and the log.

    Returns:
        The last state.

    Raises:
        DivergedError: a loss or gradient that is not finite.
        Preempted: the process was asked to stop; the state is saved.
    """
    durations = experiment.durations
    last = durations["steps"]
    batches = Prefetcher(lambda step: experiment.rows(experiment.batches, step), start, experiment.config.data.prefetch)
    pending = None

    def settle():
        """Reads the metrics of the step that was dispatched last, and logs them if it is their turn."""
        nonlocal pending
        if pending is None:
            return
        (step, values), pending = pending, None
        values = {name: float(value) for name, value in jax.device_get(values).items()}
        if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm", "param_norm")):
            raise _diverged(step, values, checkpoints)
        progress.count(values.pop("tokens"))
        if step % durations["log_every"] == 0 or step in (start + 1, last):
            rates = progress.report(step)
            eta = rates.pop("eta_seconds")
            writer.write(step, "train", {**values, **rates})
            report(progress_line(step, last, values, rates, eta))

    def save(step, state):
        began = time.perf_counter()
        checkpoints.save(step, experiment.full_parameters(state), state.opt_state, meta)
        progress.pause(time.perf_counter() - began)

    try:
        with StopSignal() as stop, experiment.context():
            for step in range(start + 1, last + 1):
                state, metrics = train_step(state, batches.next(), experiment.keys)
                settle()
                pending = (step, metrics)
                evaluates = step % durations["eval_every"] == 0 or step == last
                saves = step % durations["checkpoint_every"] == 0 or step == last
                stopping = stop.at(step)
                if evaluates or saves or stopping:
                    settle()
                if evaluates:
                    began = time.perf_counter()
                    values = experiment.validate(state)
                    if not math.isfinite(values["loss"]):
                        raise _diverged(step, values, checkpoints)
                    writer.write(step, "validation", values)
                    report(f"step {step}/{last}  validation  " + "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
                    progress.pause(time.perf_counter() - began)
                if saves or stopping:
                    save(step, state)
                if stopping and step < last:
                    checkpoints.wait()
                    raise Preempted(f"stopped at step {step} of {last}, saved; run the same command again to go on")
    finally:
        batches.close()
    checkpoints.wait()
    return state


def _diverged(step, values, checkpoints):
    checkpoints.wait()
    steps = [s for s in checkpoints.steps() if checkpoints.problem(s) is None]
    kept = (
        f"the last good checkpoint is {checkpoints.directory / str(steps[-1])}"
        if steps
        else "no checkpoint was made yet"
    )
    shown = ", ".join(f"{name} {values[name]}" for name in ("loss", "grad_norm", "param_norm") if name in values)
    return DivergedError(
        f"training diverged at step {step}: {shown}; {kept}. Lower "
        "optimizer.learning_rate, lengthen optimizer.warmup_steps or lower optimizer.clip_norm, in a new --workdir"
    )


def progress_line(step, last, values, rates, eta):
    """One line for the console."""
    return (
        f"step {step}/{last}  loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}  "
        f"{human(rates['tokens_per_second'])} tokens/s  mfu {100 * rates['mfu']:.1f}%  "
        f"{rates['seconds'] * 1000:.0f} ms/step  eta {clock(eta)}"
    )


def human(number):
    """12345 -> "12.3k"."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def clock(seconds):
    """3725 -> "1h02m"; 65 -> "1m05s"."""
    seconds = int(seconds)
    if seconds >= 86400:
        return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s"
