"""What does hiding cost? The transform of every objective beside the step of a 12-layer, 256-wide model.

    python -m benchmarks.objectives [--config=bert_base:masking=spans ...] [--repeats=20]

8 rows of 128 tokens of the embedded corpus; both sides in one run, alternating. The median of each is printed, and the
transform's share of the step. Word vectors have no model to speak of, and are held against the same step.
"""

import importlib
import statistics
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks.experiments import ALL, build

CONFIGS = flags.DEFINE_multi_string("config", [], "Names of config files with arguments after a colon; empty: all.")
REPEATS = flags.DEFINE_integer("repeats", 20, "Timed calls of each.", lower_bound=1)
ROWS, LENGTH = 8, 128


def load(name):
    """The tiny experiment of a name such as "bert_base:masking=spans", at 8 rows of 128 tokens."""
    stem, _, arguments = name.partition(":")
    config = importlib.import_module(f"cloze.configs.{stem}").get_config(",".join(filter(None, ("tiny", arguments))))
    config.data.sequence_length = LENGTH
    config.train.batch_size = ROWS
    config.optimizer.warmup_steps = 1
    return config


def reference_step():
    """() -> seconds of one training step of a 12-layer, 256-wide encoder."""
    config = load("bert_base")
    config.model.update(layers=12, width=256, heads=4, ffn=1024)
    program = build(config)
    state = program.new_state()
    with program.run.context():
        step = program.trace_train_step().lower().compile()
    rows = program.run.rows(program.run.data["train"], 0)

    def run():
        nonlocal state
        began = time.perf_counter()
        with program.run.context():
            state, metrics = step(state, rows, program.run.keys)
        jax.block_until_ready(metrics)
        return time.perf_counter() - began

    return run


def transform(name):
    """() -> seconds of one transform of 8 rows."""
    program = build(load(name))
    rows = jax.device_put({k: np.asarray(v) for k, v in program.run.data["train"].batches(0).items()})
    key = jax.random.key(0, impl="threefry2x32")
    corrupt = jax.jit(program.run.objective.corrupt)
    jax.block_until_ready(corrupt(key, rows))

    def run():
        began = time.perf_counter()
        jax.block_until_ready(corrupt(key, rows))
        return time.perf_counter() - began

    return run


def main(argv):
    del argv
    step = reference_step()
    step()
    print("| config | transform | of the step |\n|---|---|---|")
    # A student's text is hidden as masked_lm hides it; there is nothing to measure without a teacher.
    for name in CONFIGS.value or [name.split()[0] for name in ALL if "{runs}" not in name.split()[0]]:
        corrupt = transform(name)
        times = [(corrupt(), step()) for _ in range(REPEATS.value)]
        mine, whole = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {name} | {mine:.2f} ms | {100 * mine / whole:.2f}% of {whole:.0f} ms |", flush=True)


if __name__ == "__main__":
    app.run(main)
