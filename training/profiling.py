"""A trace of a few steps for a profiler: what runs on the devices and in the process, and when."""

import pathlib
import time
from collections.abc import Callable

import jax

from cloze.errors import ConfigError


class StepTrace:
    """Traces some steps of a run into a folder, while active.

    Args:
        steps: the first and the last step, such as "100:105"; "": none.
        directory: where traces go; XProf and TensorBoard's profile plugin read it, Perfetto its trace.json.gz.
        report: called with a line when a trace is written.

    Attributes:
        active: whether steps are being traced.
    """

    def __init__(self, steps: str, directory: pathlib.Path | None, report: Callable[[str], None]):
        self._steps = steps_of(steps) if steps and directory is not None else range(0)
        self._directory, self._report, self.active = directory, report, False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.active:  # the run ends within the steps that were asked for
            self._stop()

    def before(self, step: int) -> float:
        """Begins at the first of the steps, at a later one where the run goes on within them; seconds that it took."""
        began = time.perf_counter()
        if step in self._steps and not self.active:
            jax.profiler.start_trace(self._directory)
            self.active = True
        return time.perf_counter() - began

    def after(self, step: int, wait: Callable[[], None]) -> float:
        """Ends with the last of the steps; seconds that it took beside `wait`, which returns when the step is done."""
        if not self.active or step != self._steps[-1]:
            return 0.0
        wait()
        began = time.perf_counter()
        self._stop()
        return time.perf_counter() - began

    def _stop(self):
        self.active = False
        jax.profiler.stop_trace()
        self._report(f"Trace of steps {self._steps[0]} to {self._steps[-1]} in {self._directory}")


def steps_of(text: str) -> range:
    """The steps of train.profile.

    Raises:
        ConfigError: the last comes before the first.
    """
    first, last = map(int, text.split(":"))
    if not 1 <= first <= last:
        raise ConfigError(
            f'train.profile={text!r}: write the first and the last step, such as "100:105"; steps count from 1'
        )
    return range(first, last + 1)


def check(text: str, length: int) -> None:
    """Refuses steps that a run does not reach.

    Args:
        text: train.profile.
        length: steps of the run.

    Raises:
        ConfigError: they lie behind its end, or are none.
    """
    if text and steps_of(text)[-1] > length:
        raise ConfigError(f"train.profile={text!r} lies behind the end of the run, which has {length} steps")
