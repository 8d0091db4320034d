"""The loop: step, log, validate, save, stop in time."""

import math
import os
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from cloze.data.batches import Prefetcher
from cloze.errors import Preempted
from cloze.parallel.cost import human
from cloze.parallel.processes import decide
from cloze.tasks.progress import clock
from cloze.training import divergence, goodput, methods, retention, validation
from cloze.training.checkpoint import REWOUND
from cloze.training.goodput import Goodput
from cloze.training.profiling import StepTrace


class StopSignal:
    """Notes SIGTERM and SIGINT while active, so that the loop can save before it ends; a second one ends it at once.

    In a multi-process run JAX's own handler of SIGTERM agrees between the processes on a step at which all of them
    stop; SIGINT is handed on to it, so that Ctrl-C in one terminal saves as well.
    """

    def __init__(self):
        self._received = False
        self._old = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM)[: 2 if jax.process_count() == 1 else 1]:
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self._received:  # it is meant: nothing is waited for, and what is half written is cleared by the next start
            os.write(2, b"stopped at once, without saving\n")
            os._exit(128 + number)
        self._received = True
        if jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)

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
        self._tokens = self._steps = self._flops = self._waited = 0

    def wait(self, seconds):
        """Notes time that the loop spent waiting for rows."""
        self._waited += seconds

    def count(self, tokens, flops):
        """Counts a step: its tokens, and its operations over all devices."""
        self._tokens += tokens
        self._flops += flops
        self._steps += 1

    def pause(self, seconds):
        """Takes time out of the account."""
        self._start += seconds

    def report(self, step):
        """{"tokens_per_second", "mfu", "seconds", "data_wait", "flops", "eta_seconds"} since the last report.

        "seconds", "data_wait", the part of them in which the loop waited for rows, and "flops", operations over all
        devices, are per step. Devices may have had work meanwhile: they stood still for as long at most.
        """
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        steps = max(self._steps, 1)
        seconds = elapsed / steps
        rates = {
            "tokens_per_second": self._tokens / elapsed,
            "mfu": self._flops / elapsed / self._peak,
            "seconds": seconds,
            "data_wait": self._waited / steps,
            "flops": self._flops / steps,
            "eta_seconds": seconds * (self._last - step),
        }
        self._start = time.perf_counter()
        self._tokens = self._steps = self._flops = self._waited = 0
        return rates


class Plateau:
    """Tells when a loss has stopped improving.

    Args:
        patience: validations without improvement that are a plateau.
        least: improvement that counts as one.
        state: that of an earlier one, as a checkpoint has it, or None.
    """

    def __init__(self, patience, least, state=None):
        self._patience, self._least = patience, least
        self.state = {"best": None, "waited": 0} if state is None else dict(state)

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


def fit(program, state, *, start, checkpoints, writer, progress, facts, report, seal=None, account=None, traces=None):
    """Trains from step `start` to the end of the run, stage by stage.

    Metrics of a step are read when the next step is under way. A checkpoint is taken only of a state whose last
    loss and gradient were finite, or were skipped.

    Args:
        program: training.program.Program of the stage of `state`.
        state: TrainState after `start` updates; donated.
        start: updates made so far.
        checkpoints: training.checkpoint.Checkpoints, in the run's directory.
        writer: training.metrics.MetricWriter.
        progress: Progress.
        facts: JSON dict that goes into each checkpoint's seal, see training.run.Run.facts.
        report: called with lines for the console and the log.
        seal: that of the checkpoint that it goes on from, or None.
        account: training.goodput.Goodput, or None.
        traces: where the trace of train.profile goes, a pathlib.Path; None: none is made.

    Returns:
        (the program of the last stage, the last state).

    Raises:
        DivergedError: a loss or gradient that is not finite, as often as train.on_divergence bears it.
        Rewound: the run is to go on from an earlier step.
        Preempted: the process was asked to stop; the state is saved.
        WriteError: a checkpoint could not be written.
    """
    run = program.run
    account = Goodput() if account is None else account
    loop = _Loop(program, state, start, checkpoints, writer, progress, facts, report, seal or {}, account)

    def read(step):
        return run.rows(run.data["train"], loop.rewinds.data_step(step))

    prefetcher = Prefetcher(read, start, run.config.data.prefetch)
    trace = StepTrace(run.config.train.profile, traces, report)
    with prefetcher as batches, StopSignal() as stop, run.context(), trace:
        for step in range(start + 1, loop.last + 1):
            account.at(step)
            rows = loop.next_rows(batches)
            with account.spent("starting"):  # if it compiles
                train_step, flops, seconds = loop.program.train_step(rows, report)
            progress.pause(seconds)
            progress.pause(trace.before(step))
            loop.state, metrics = train_step(loop.state, rows, run.keys)
            loop.settle()
            loop.pending = (step, metrics, flops)
            progress.pause(trace.after(step, loop.settle))
            loop.after(step, stop.at(step))
        with account.spent("saving"):
            checkpoints.wait()
    return loop.program, loop.state


class _Loop:
    """What happens between the steps of `fit`; arguments as there.

    Attributes:
        program, state: where the run is.
        last: the step at which it ends.
        plateau: Plateau.
        watch: training.divergence.Watch.
        rewinds: training.divergence.Rewinds.
        pending: (step, metrics on the devices, operations) of the step that was dispatched last, or None.
    """

    def __init__(self, program, state, start, checkpoints, writer, progress, facts, report, seal, account):
        run, method = program.run, methods.of(program.run.config)
        self.program, self.state, self.last = program, state, run.durations["steps"]
        self.plateau = Plateau(method.patience, method.least_improvement, seal.get("plateau"))
        self.watch = divergence.Watch(run.config.train.spike_deviations, seal.get("watch"))
        self.rewinds = divergence.Rewinds(checkpoints.directory.parent)
        self.pending = None
        self._norms = []  # [(step, norms of gradients)] of the last two steps
        self._validate = validation.Validator(run)
        self._start, self._checkpoints, self._writer, self._progress = start, checkpoints, writer, progress
        self._facts, self._report, self._account = facts, report, account

    def next_rows(self, batches):
        """The rows of the next step. While they are waited for, the last step is settled: that wait is its own."""
        if batches.ready():
            return batches.next()
        self.settle()
        began = time.perf_counter()
        with self._account.spent("waiting"):
            rows = batches.next()
        self._progress.wait(time.perf_counter() - began)
        return rows

    def settle(self):
        """Reads the metrics of the step that was dispatched last, and logs them if it is their turn."""
        self._checkpoints.check()
        if self.pending is None:
            return
        (step, values, flops), self.pending = self.pending, None
        values = dict(jax.device_get(values))
        self._norms = [*self._norms[-1:], (step, values.pop("gradient_norms"))]
        values = {name: float(value) for name, value in values.items()}
        spike = self.watch.spike(values)
        if divergence.is_good(values):
            self.watch.skipped = 0
        else:
            spike = {name: values[name] for name in divergence.WATCHED} | (spike or {})
            spike |= {"skipped": self._met_a_bad_step(step, values)}
        if spike is not None:
            self._writer.write(step, "spike", spike)
        self._progress.count(values.pop("tokens"), flops)
        if self._due("log_every", step) or step == self._start + 1:
            rates = self._progress.report(step)
            eta = rates.pop("eta_seconds")
            self._writer.write(step, "train", {**values, **rates})
            self._writer.write(step, goodput.SPLIT, self._account.values())
            self._report(progress_line(step, self.last, values, rates, eta))

    def _met_a_bad_step(self, step, values):
        """The number of updates that were skipped in a row, with this one; or an end of `fit`."""
        told = divergence.in_words(step, values, self._norms, self.program.gradient_names)
        if "skipped" not in values:
            self._end_at(step, values, told)
        self.watch.skipped += 1
        most = self.program.run.config.train.most_divergences
        if self.watch.skipped >= most:
            raise divergence.diverged(step, told, self._checkpoints, f", after {most} skipped updates in a row")
        self._report(f"step {step}/{self.last}  no update, {self.watch.skipped} of at most {most} in a row: {told}")
        return self.watch.skipped

    def _end_at(self, step, values, told):
        """Raises what a bad step ends `fit` with: Rewound, or DivergedError."""
        train, tried = self.program.run.config.train, ""
        if train.on_divergence == "rewind":
            every = self.program.run.durations["checkpoint_every"]
            to = divergence.regular_checkpoint(self._checkpoints, every)
            count = self.rewinds.count(to or 0)
            tried = f", after {count} rewinds to step {to or 0}"
            if count < train.most_divergences:
                decide(lambda: self._checkpoints.set_aside_after(to or 0, self._report, REWOUND))
                found = {name: values[name] for name in values if math.isfinite(values[name])}
                self.rewinds.add(to or 0, step, {"told": told, "metrics": found})
                self._report(f"Diverged: {told}. Back to step {to or 0}; the data of the {step - (to or 0)} steps from "
                             "there are left out")  # fmt: skip
                self.state = None  # its memory is needed before the exception is gone
                raise divergence.Rewound(to)
        raise divergence.diverged(step, told, self._checkpoints, tried)

    def after(self, step, stopping):
        """Validates, enters the next stage and saves, where it is time; ends the run if it is to stop."""
        evaluates, saves = self._due("eval_every", step), self._due("checkpoint_every", step)
        stage = stage_after(self.program, step)
        if not (evaluates or saves or stopping or stage != self.program.stage):
            return
        self.settle()
        began, values = time.perf_counter(), None
        if evaluates:
            with self._account.spent("evaluating"):
                values = self._evaluate(step)
            stage = max(stage, self._stage_by_loss(step, values["loss"]))
        if stage != self.program.stage:  # after the last step as well: a longer run goes on from there
            with self._account.spent("starting"):
                self.program, self.state = self.program.enter(stage, self.state)
            self._norms = []
            self._report(stage_line(self.program, step))
        if saves or stopping:
            with self._account.spent("saving"):
                self._save(step, values)
        self._progress.pause(time.perf_counter() - began)
        if stopping and step < self.last:
            with self._account.spent("saving"):
                self._checkpoints.wait()
            raise Preempted(f"stopped at step {step} of {self.last}, saved; run the same command again to go on")

    def _due(self, what, step):
        return step % self.program.run.durations[what] == 0 or step == self.last

    def _evaluate(self, step):
        """{metric: value} of the validation split, which are written."""
        run = self.program.run
        values = self._validate(self.program, self.state)
        if run.config.checkpoint.best:  # those of tasks are not known before
            retention.check_best(run.config.checkpoint.best, values)
        if run.privacy is not None:
            values["epsilon"] = run.privacy.epsilon(step)
        if not math.isfinite(values["loss"]):
            self._end_at(step, values, f"the validation loss of step {step} is {values['loss']}")
        self._writer.write(step, "validation", values)
        self._report(f"step {step}/{self.last}  validation  {validation.line(values)}")
        return values

    def _stage_by_loss(self, step, loss):
        """The number of the stage that comes now, as far as the validation loss decides it."""
        # What a shorter run validates at its end is not in the longer one that goes on from it.
        regular = step % self.program.run.durations["eval_every"] == 0
        thaws = regular and waits_for_plateau(self.program) and self.plateau.reached(loss)
        return self.program.stage + thaws

    def _save(self, step, validated):
        validated = {name: value for name, value in (validated or {}).items() if math.isfinite(value)}
        facts = {
            **self._facts, "stage": self.program.stage, "plateau": self.plateau.state, "watch": self.watch.state,
            "metrics": {f"{retention.PREFIX}{name}": value for name, value in validated.items()},
        }  # fmt: skip
        saved = self.program.saved_parameters(self.state)
        self._checkpoints.save(step, saved, self.state.opt_state, facts, self.state.ema)


def stage_after(program, step):
    """The number of the stage that comes after a step, as far as the step decides it."""
    begun = [k for k, stage in enumerate(program.run.stages) if stage.start is not None and stage.start <= step]
    return max(program.stage, *begun)


def waits_for_plateau(program):
    """Whether the next stage begins when the validation loss stops improving."""
    following = program.run.stages[program.stage + 1 :]
    return bool(following) and following[0].start is None


def stage_line(program, step):
    """One line for the console."""
    total, training = program.parameter_counts()
    return (
        f"step {step}: stage {program.stage + 1} of {len(program.run.stages)} begins, {training:,} of {total:,} "
        "parameters train"
    )


def progress_line(step, last, values, rates, eta):
    """One line for the console."""
    return (
        f"step {step}/{last}  loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}  "
        f"{human(rates['tokens_per_second'])} tokens/s  mfu {100 * rates['mfu']:.1f}%  "
        f"{rates['seconds'] * 1000:.0f} ms/step  eta {clock(eta)}"
    )
