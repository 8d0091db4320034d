"""Do the tiny experiments learn? Each is trained as a user would, and held against the unigram distribution.

    python -m benchmarks.learning [--configs=configs/bert_base.py:tiny,...] [--directory=/tmp/learning]

For each: seconds from the cold start of the process (data prepared) to the first step, seconds in all, and on the
same validation targets, special tokens and sentinels excluded, the model's cross-entropy and that of the training
text's unigram distribution (add-one smoothed).
"""

import contextlib
import io
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from configs import base
from training import experiment as experiments
from training.checkpoint import Checkpoints

CONFIGS = flags.DEFINE_list(
    "configs", ["configs/bert_base.py:tiny", "configs/gpt2_small.py:tiny", "configs/t5_small.py:tiny"], "What to train."
)
DIRECTORY = flags.DEFINE_string("directory", "/tmp/cloze_learning", "Where the runs go.")


def train(config, workdir):
    """(seconds to the first step, seconds in all) of a run in a process of its own."""
    subprocess.run([sys.executable, "prepare.py", f"--config={config}"], check=True)
    began = time.monotonic()
    first = None
    command = [sys.executable, "-u", "train.py", f"--config={config}", f"--workdir={workdir}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="")
            if first is None and line.startswith("step 1/"):
                first = time.monotonic() - began
    return first, time.monotonic() - began


def cross_entropies(workdir):
    """(model's, unigram's, number of targets): nats per validation target that is text."""
    config = base.load(workdir / "config.json")
    with contextlib.redirect_stdout(io.StringIO()):
        experiment = experiments.build(config, workdir / "tokenizer", devices=jax.devices()[:1])
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = experiment.restore(checkpoints, checkpoints.latest_whole())
    counts = sum(corpus.split("train").counts for corpus in experiment.batches.corpora)
    is_text = ~experiment.tokenizer.tables.special
    smoothed = np.where(is_text, counts + 1.0, 0.0)
    unigram = jnp.asarray(np.log(np.maximum(smoothed / smoothed.sum(), 1e-30)), jnp.float32)
    is_text = jnp.asarray(is_text)

    @jax.jit
    def score(state, rows, key):
        batch = experiment.objective.corrupt(key, rows)
        params = experiment.split.merge(state.trainable, state.frozen)
        log_probs = jax.nn.log_softmax(experiment.model.apply({"params": params}, batch).logits)
        targets = batch["targets"]
        weights = jnp.broadcast_to(batch.get("target_weights", 1.0), targets.shape) * is_text[targets]
        picked = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
        return -jnp.sum(picked * weights), -jnp.sum(unigram[targets] * weights), jnp.sum(weights)

    totals = np.zeros(3)
    key = experiment.validation_key
    for index in range(experiment.validation_batches):
        with experiment.context():
            rows = experiment.rows(experiment.validation, index)
            totals += np.array(score(state, rows, jax.random.fold_in(key, index)))
    return totals[0] / totals[2], totals[1] / totals[2], int(totals[2])


def main(argv):
    del argv
    rows = []
    for config in CONFIGS.value:
        workdir = pathlib.Path(DIRECTORY.value) / pathlib.Path(config).name.replace(":", "-")
        first, whole = train(config, workdir)
        rows.append((config, first, whole, *cross_entropies(workdir)))
    print("\n| config | first step after | in all | model | unigram | below it by | targets |")
    print("|---|---|---|---|---|---|---|")
    for config, first, whole, model, unigram, targets in rows:
        first = "resumed" if first is None else f"{first:.0f} s"
        print(
            f"| {config} | {first} | {whole:.0f} s | {model:.3f} | {unigram:.3f} | {unigram - model:.3f} | {targets} |"
        )


if __name__ == "__main__":
    app.run(main)
