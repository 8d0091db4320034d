"""The loop: step, log, validate, save, stop in time."""

import functools
import math
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from cloze.data.batches import Prefetcher
from cloze.errors import DivergedError, Preempted
from cloze.training import methods
from cloze.training.compiled import CompiledSteps, human


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
        peak: FLOP/s of all devices together.
        last_step: step at which the run ends.
    """

    def __init__(self, peak, last_step):
        self._peak, self._last = peak, last_step
        self._start = time.perf_counter()
        self._tokens = self._steps = self._flops = 0

    def count(self, tokens, flops):
        """Counts a step: its tokens, and its operations over all devices."""
        self._tokens += tokens
        self._flops += flops
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
            "mfu": self._flops / elapsed / self._peak,
            "seconds": seconds,
            "eta_seconds": seconds * (self._last - step),
        }
        self._start = time.perf_counter()
        self._tokens = self._steps = self._flops = 0
        return rates


class Plateau:
    """Tells when a loss has stopped improving.

    Args:
        patience: validations without improvement that are a plateau.
        least: improvement that counts as one.
        told: `state` of an earlier one, as a checkpoint has it, or None.
    """

    def __init__(self, patience, least, told=None):
        self._patience, self._least = patience, least
        self.state = {"best": None, "waited": 0} if told is None else dict(told)

    def reached(self, loss):
        """Whether it has stopped, with this one as the newest; then it begins anew."""
        best = self.state["best"]
        if best is None or loss < best - self._least:
            self.state = {"best": loss, "waited": 0}
        elif self.state["waited"] + 1 < self._patience:
            self.state = {"best": best, "waited": self.state["waited"] + 1}
        else:
            self.state = {"best": None, "waited": 0}
            return True
        return False


def fit(experiment, state, *, start, checkpoints, writer, progress, meta, report, told=None, steps=None):
    """Trains from step `start` to the end of the run, stage by stage.

    Metrics of a step are read when the next step is under way. A checkpoint is taken only of a state whose last
    loss and gradient were finite.

    Args:
        experiment: training.experiment.Experiment, in the stage of `state`.
        state: TrainState after `start` updates; donated.
        start: updates made so far.
        checkpoints: training.checkpoint.Checkpoints.
        writer: training.metrics.MetricWriter.
        progress: Progress.
        meta: JSON dict that goes into each checkpoint's seal.
        report: called with lines for the console and the log.
        told: what the checkpoint that it goes on from says of the plateau, or None.
        steps: training.compiled.CompiledSteps; None: new ones.

    Returns:
        (the experiment in its last stage, the last state).

    Raises:
        DivergedError: a loss or gradient that is not finite.
        Preempted: the process was asked to stop; the state is saved.
    """
    loop = _Loop(experiment, state, start, checkpoints, writer, progress, meta, report)
    method = methods.of(experiment.config)
    loop.plateau = Plateau(method.patience, method.least_improvement, told)
    steps = CompiledSteps(report) if steps is None else steps
    read = functools.partial(experiment.rows, experiment.batches)
    batches = Prefetcher(read, start, experiment.config.data.prefetch)
    try:
        with StopSignal() as stop, experiment.context():
            for step in range(start + 1, loop.last + 1):
                rows = batches.next()
                train_step, flops, waited = steps(loop.experiment, rows)
                progress.pause(waited)
                loop.state, metrics = train_step(loop.state, rows, experiment.keys)
                loop.settle()
                loop.pending = (step, metrics, flops)
                loop.after(step, stop.at(step))
    finally:
        batches.close()
    checkpoints.wait()
    return loop.experiment, loop.state


class _Loop:
    """What happens between the steps of `fit`; arguments as there.

    Attributes:
        experiment, state: where the run is.
        last: the step at which it ends.
        plateau: Plateau.
        pending: (step, metrics on the devices, operations) of the step that was dispatched last, or None.
    """

    def __init__(self, experiment, state, start, checkpoints, writer, progress, meta, report):
        self.experiment, self.state, self.last = experiment, state, experiment.durations["steps"]
        self.plateau = self.pending = None
        self._start, self._checkpoints, self._writer, self._progress = start, checkpoints, writer, progress
        self._meta, self._report = meta, report

    def settle(self):
        """Reads the metrics of the step that was dispatched last, and logs them if it is their turn."""
        if self.pending is None:
            return
        (step, values, flops), self.pending = self.pending, None
        values = {name: float(value) for name, value in jax.device_get(values).items()}
        if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm", "param_norm")):
            raise _diverged(step, values, self._checkpoints)
        self._progress.count(values.pop("tokens"), flops)
        if self._due("log_every", step) or step == self._start + 1:
            rates = self._progress.report(step)
            eta = rates.pop("eta_seconds")
            self._writer.write(step, "train", {**values, **rates})
            self._report(progress_line(step, self.last, values, rates, eta))

    def after(self, step, stopping):
        """Validates, enters the next stage and saves, where it is time; ends the run if it is to stop."""
        evaluates, saves = self._due("eval_every", step), self._due("checkpoint_every", step)
        stage = stage_after(self.experiment, step)
        if not (evaluates or saves or stopping or stage != self.experiment.stage):
            return
        self.settle()
        began = time.perf_counter()
        if evaluates:
            stage = max(stage, self._validate(step))
        if stage != self.experiment.stage:  # after the last step as well: a longer run goes on from there
            self.experiment, self.state = self.experiment.enter(stage, self.state)
            self._report(stage_line(self.experiment, step))
        if saves or stopping:
            self._save(step)
        self._progress.pause(time.perf_counter() - began)
        if stopping and step < self.last:
            self._checkpoints.wait()
            raise Preempted(f"stopped at step {step} of {self.last}, saved; run the same command again to go on")

    def _due(self, what, step):
        return step % self.experiment.durations[what] == 0 or step == self.last

    def _validate(self, step):
        """Validates; returns the number of the stage that comes now, as far as the loss decides it."""
        values = self.experiment.validate(self.state)
        if self.experiment.privacy is not None:
            values["epsilon"] = self.experiment.privacy.epsilon(step)
        if not math.isfinite(values["loss"]):
            raise _diverged(step, values, self._checkpoints)
        self._writer.write(step, "validation", values)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self._report(f"step {step}/{self.last}  validation  {shown}")
        # What a shorter run validates at its end is not in the longer one that goes on from it.
        regular = step % self.experiment.durations["eval_every"] == 0
        thaws = regular and waits_for_plateau(self.experiment) and self.plateau.reached(values["loss"])
        return self.experiment.stage + thaws

    def _save(self, step):
        facts = {**self._meta, **self.experiment.seal(), "plateau": self.plateau.state}
        saved = self.experiment.saved_parameters(self.state)
        self._checkpoints.save(step, saved, self.state.opt_state, facts)


def stage_after(experiment, step):
    """The number of the stage that comes after a step, as far as the step decides it."""
    begun = [k for k, stage in enumerate(experiment.stages) if stage.start is not None and stage.start <= step]
    return max(experiment.stage, *begun)


def waits_for_plateau(experiment):
    """Whether the next stage begins when the validation loss stops improving."""
    following = experiment.stages[experiment.stage + 1 :]
    return bool(following) and following[0].start is None


def stage_line(experiment, step):
    """One line for the console."""
    total, training = experiment.parameter_counts()
    return (
        f"step {step}: stage {experiment.stage + 1} of {len(experiment.stages)} begins, {training:,} of {total:,} "
        "parameters train"
    )


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


def clock(seconds):
    """3725 -> "1h02m"; 65 -> "1m05s"."""
    seconds = int(seconds)
    if seconds >= 86400:
        return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s"
