"""train.profile: which steps are traced, where the trace lies, and what is refused."""

import jax
import jax.numpy as jnp
import pytest

from cloze.errors import ConfigError, DivergedError
from cloze.training import profiling
from tests.training import tiny_run


def traced(steps, ran, directory):
    """(lines, steps that ran under the profiler) of a loop over `ran`."""
    lines, active = [], []
    with profiling.StepTrace(steps, directory, lines.append) as trace:
        for step in ran:
            trace.before(step)
            result = jnp.sin(jnp.float32(step))
            active += [step] * trace.active
            trace.after(step, result.block_until_ready)
    return lines, active


@pytest.mark.parametrize(
    "steps, ran, active",
    [
        ("3:4", range(1, 7), [3, 4]),
        ("2:9", range(5, 7), [5, 6]),  # goes on within the steps, and is stopped there
        ("1:2", range(5, 7), []),
        ("", range(1, 3), []),
    ],
)
def test_a_trace_has_the_steps_that_were_asked_for(steps, ran, active, tmp_path):
    lines, got = traced(steps, ran, tmp_path / "profile")
    assert got == active
    files = [*(tmp_path / "profile").rglob("*.xplane.pb")]
    assert len(files) == len(lines) == bool(active) and all(file.stat().st_size for file in files)


def test_the_profiler_is_stopped_where_a_step_fails(tmp_path):
    with pytest.raises(DivergedError):
        with profiling.StepTrace("1:5", tmp_path, lambda line: None) as trace:
            trace.before(1)
            raise DivergedError("at step 1")
    jax.profiler.start_trace(tmp_path / "next")  # would fail if one were active
    jax.profiler.stop_trace()


@pytest.mark.parametrize(
    "steps, message",
    [
        ("5:3", "first and the last"),
        ("0:3", "first and the last"),
        ("3:9", "behind the end"),
        ("3", "whole numbers"),
        ("a:b", "whole numbers"),
    ],
)
def test_steps_that_are_none_are_refused_before_the_run(steps, message, root):
    with pytest.raises(ConfigError, match=message):
        tiny_run.build(tiny_run.config("gpt2", root, train__profile=steps))
