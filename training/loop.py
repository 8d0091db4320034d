"""The loop: step, log, validate, save, stop in time."""

import functools
import math
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from data.batches import Prefetcher
from errors import DivergedError, Preempted
from training.compiled import CompiledSteps, human


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
    durations = experiment.durations
    last = durations["steps"]
    f = experiment.config.finetune
    plateau = Plateau(f.patience, f.least_improvement, told)
    steps = CompiledSteps(report) if steps is None else steps
    batches = Prefetcher(
        functools.partial(experiment.rows, experiment.batches), start, experiment.config.data.prefetch
    )  # fmt: skip
    pending = None

    def settle():
        """Reads the metrics of the step that was dispatched last, and logs them if it is their turn."""
        nonlocal pending
        if pending is None:
            return
        (step, values, flops), pending = pending, None
        values = {name: float(value) for name, value in jax.device_get(values).items()}
        if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm", "param_norm")):
            raise _diverged(step, values, checkpoints)
        progress.count(values.pop("tokens"), flops)
        if step % durations["log_every"] == 0 or step in (start + 1, last):
            rates = progress.report(step)
            eta = rates.pop("eta_seconds")
            writer.write(step, "train", {**values, **rates})
            report(progress_line(step, last, values, rates, eta))

    def save(step, state):
        began = time.perf_counter()
        facts = {**meta, **experiment.seal(), "plateau": plateau.state}
        checkpoints.save(step, experiment.saved_parameters(state), state.opt_state, facts)
        progress.pause(time.perf_counter() - began)

    try:
        with StopSignal() as stop, experiment.context():
            for step in range(start + 1, last + 1):
                rows = batches.next()
                train_step, flops, waited = steps(experiment, rows)
                progress.pause(waited)
                state, metrics = train_step(state, rows, experiment.keys)
                settle()
                pending = (step, metrics, flops)
                evaluates = step % durations["eval_every"] == 0 or step == last
                saves = step % durations["checkpoint_every"] == 0 or step == last
                stopping = stop.at(step)
                stage = stage_after(experiment, step)
                if evaluates or saves or stopping or stage != experiment.stage:
                    settle()
                if evaluates:
                    began = time.perf_counter()
                    values = experiment.validate(state)
                    if experiment.privacy is not None:
                        values["epsilon"] = experiment.privacy.epsilon(step)
                    if not math.isfinite(values["loss"]):
                        raise _diverged(step, values, checkpoints)
                    writer.write(step, "validation", values)
                    report(f"step {step}/{last}  validation  " + "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
                    # What a shorter run validates at its end is not in the longer one that goes on from it.
                    regular = step % durations["eval_every"] == 0
                    if regular and waits_for_plateau(experiment) and plateau.reached(values["loss"]):
                        stage = experiment.stage + 1
                    progress.pause(time.perf_counter() - began)
                if stage != experiment.stage:  # after the last step as well: a longer run goes on from there
                    began = time.perf_counter()
                    experiment, state = experiment.enter(stage, state)
                    report(stage_line(experiment, step))
                    progress.pause(time.perf_counter() - began)
                if saves or stopping:
                    save(step, state)
                if stopping and step < last:
                    checkpoints.wait()
                    raise Preempted(f"stopped at step {step} of {last}, saved; run the same command again to go on")
    finally:
        batches.close()
    checkpoints.wait()
    return experiment, state


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
