"""Compiled steps of a run: one for each shape of its rows and each of its stages."""

import time

from cloze.parallel import cost


class CompiledSteps:
    """Compiles a step when rows of its shape come first.

    Args:
        report: called with lines for the console and the log.
    """

    def __init__(self, report):
        self._report = report
        self._made, self._stage = {}, None

    def __call__(self, experiment, rows):
        """The step for some rows.

        Args:
            experiment: training.experiment.Experiment.
            rows: dict of arrays on the devices.

        Returns:
            (compiled (state, rows, keys) -> (state, metrics), its operations over all devices, seconds that compiling
            has taken now).
        """
        key = (experiment.stage, *sorted((name, array.shape) for name, array in rows.items()))
        if key in self._made:
            return *self._made[key], 0.0
        if self._stage != experiment.stage:  # a stage does not come again
            self._made.clear()
            self._stage = experiment.stage
        began = time.perf_counter()
        traced = experiment.trace_train_step(rows)
        flops = cost.count_flops(traced.jaxpr)
        with experiment.context():
            compiled = traced.lower().compile()
        seconds = time.perf_counter() - began
        self._made[key] = (compiled, flops)
        self._tell(rows, compiled, flops, seconds)
        return compiled, flops, seconds

    def _tell(self, rows, compiled, flops, seconds):
        shape = next((list(rows[name].shape) for name in ("tokens", "features") if name in rows), "")
        line = f"Compiled the step for rows of {shape} in {seconds:.1f} s: {human(flops)}FLOP"
        if memory := cost.memory(compiled):
            line += ", per device " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in memory.items())
        self._report(line)


def human(number):
    """12345 -> "12.3k"."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"
