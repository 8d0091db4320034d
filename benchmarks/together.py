"""Whether small runs of one shape are faster as one program: steps of several seeds under `vmap`, and one by one.

    python -m benchmarks.together [--runs=4] [--rounds=5] [--steps=10]

Each is the whole training step (corruption, gradient, optimizer) on rows of its own. The two sides alternate in one
process. Seconds are by the clock, and of all cores together, which tells more where others work on the machine.
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import runs, tables
from cloze.configs import demo
from cloze.training import resolve
from cloze.training.gradients import Loss, make_gradient
from cloze.training.run import build
from cloze.training.step import make_keys, train_step

RUNS = flags.DEFINE_integer("runs", 4, "Runs that are trained together.", lower_bound=2)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds in which each side takes its turn.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 10, "Steps of each run in a round.", lower_bound=1)
MODELS = ((3, 128), (2, 64))  # layers and width; the first is the demo's


def sides(layers, width):
    """{"one by one", "together": function that trains all runs for some steps}, and the operations of a step."""
    config = demo.get_config()
    config.model.update(layers=layers, width=width, heads=width // 64, ffn=4 * width)
    run = build(resolve.resolve(config), devices=jax.devices()[:1], report=runs.silent)
    program = run.program()
    step = functools.partial(
        train_step, gradient=make_gradient(Loss(program.model, run.objective, program.split), 1, run.privacy),
        objective=run.objective, optimizer=program.optimizer, schedule=run.schedule,
    )  # fmt: skip
    state = program.new_state(runs.silent)
    keys = [make_keys(seed, config.train.dropout_generator) for seed in range(RUNS.value)]
    rows = [run.rows(run.data["train"], number) for number in range(RUNS.value)]
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    alone, together = jax.jit(step, donate_argnums=0), jax.jit(jax.vmap(step), donate_argnums=0)
    copy = lambda: jax.tree.map(jnp.copy, state)  # noqa: E731
    states = {"one by one": [copy() for _ in keys], "together": stack([copy() for _ in keys])}
    all_rows, all_keys = stack(rows), stack(keys)

    def one_by_one():
        for _ in range(STEPS.value):
            for number, (mine, key) in enumerate(zip(rows, keys, strict=True)):
                states["one by one"][number], metrics = alone(states["one by one"][number], mine, key)
        return metrics

    def as_one():
        for _ in range(STEPS.value):
            states["together"], metrics = together(states["together"], all_rows, all_keys)
        return metrics

    return {"one by one": one_by_one, "together": as_one}, run


def timed(function, context):
    """Milliseconds of one step of one run, by the clock and of all cores."""
    with context:
        clock, cores = time.perf_counter(), time.process_time()
        jax.block_until_ready(function())
        took = time.perf_counter() - clock, time.process_time() - cores
    return [1e3 * seconds / (RUNS.value * STEPS.value) for seconds in took]


def main(argv):
    """Prints the table."""
    del argv
    print(tables.heading(f"{RUNS.value} runs, rows of [16, 64]"), flush=True)
    print(tables.head("layers x width", "as", "ms of a step of one run", "of all cores", "against one by one"))
    for layers, width in MODELS:
        functions, run = sides(layers, width)
        took = {name: [] for name in functions}
        for number in range(ROUNDS.value + 1):
            for name, function in functions.items():
                found = timed(function, run.context())
                took[name] += [found] if number else []  # the first round compiles
        first = None
        for name, found in took.items():
            clock, cores = (statistics.median(column) for column in zip(*found, strict=True))
            first = first or cores
            told = f"{cores / first:.2f}"
            print(tables.row(f"{layers} x {width}", name, f"{clock:.1f}", f"{cores:.1f}", told), flush=True)


if __name__ == "__main__":
    app.run(main)
