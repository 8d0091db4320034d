"""Do the tiny experiments learn? Each is trained as a user would, and held against what knows nothing of the text.

    python -m benchmarks.learning [--config=bert_base --config=t5_study:noise=mass ...] [--seconds=170]

A name may be followed by flags of train.py, after spaces.

Each run is `python train.py --config=configs/NAME.py:tiny`, stopped by SIGTERM after some seconds of training (data
prepared, compiling included), which saves. Then, on the same validation rows with the same corruption: the loss of the
initial parameters, that of the saved ones, and the trivial baseline of each term:

* of predicted tokens and of labels, the best answer that does not look at the input: their distribution over the
  training rows (add-one smoothed);
* of what was replaced, the entropy of the share that was; of correcting it, copying with that probability, and else
  the distribution of tokens;
* of a contrast among n texts, ln(n - 1), of anchors with n positives ln(n);
* of word pairs, the best answer from one word alone: a bias for each word.
"""

import contextlib
import io
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.experiments import ALL, build
from cloze.configs import base
from cloze.training.checkpoint import Checkpoints
from cloze.training.validation import Validator

CONFIGS = flags.DEFINE_multi_string("config", [], "Names of config files with arguments after a colon; empty: all.")
SECONDS = flags.DEFINE_float("seconds", 170, "Seconds of a run from its start.")
DIRECTORY = flags.DEFINE_string("directory", "/tmp/cloze_learning", "Where the runs go.")
FITTED = 100  # training batches that a baseline is fitted on
NOT_SCORED = ("cosine", "soft")  # of a student against its teacher: nothing trivial to hold them against


def train(name, workdir, seconds):
    """Trains as a user would for some seconds; the corpus is prepared first."""
    name, *more = name.split()
    stem, _, arguments = name.partition(":")
    config = f"--config=configs/{stem.replace('.', '/')}.py:{','.join(filter(None, ('tiny', arguments)))}"
    subprocess.run([sys.executable, "prepare.py", config, *more], check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "train.py", config, f"--workdir={workdir}", *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stop = threading.Timer(seconds, process.send_signal, (signal.SIGTERM,))
    stop.start()
    code = process.wait()
    stop.cancel()
    if code not in (0, 75):
        raise SystemExit(f"{config} ended with {code}")


def batches(program, source, count, key):
    """`count` corrupted batches as numpy arrays."""
    corrupt = jax.jit(program.run.objective.corrupt)
    for index in range(count):
        with program.run.context():
            batch = corrupt(jax.random.fold_in(key, index), program.run.rows(source, index))
        yield {name: np.asarray(array) for name, array in batch.items()}


class Constant:
    """The best answer that does not look at the input, for targets `key` with `weights` in a batch."""

    def __init__(self, key, weights, classes):
        self.key, self.weights, self.counts = key, weights, np.ones(classes)

    def fit(self, batch):
        np.add.at(self.counts, batch[self.key].ravel(), self._weights(batch).ravel())

    def score(self, batch):
        """(sum of nats, weight)."""
        losses, weights = -np.log(self.counts / self.counts.sum())[batch[self.key]], self._weights(batch)
        return float((losses * weights).sum()), float(weights.sum())

    def _weights(self, batch):
        return np.broadcast_to(batch.get(self.weights, 1.0), batch[self.key].shape)


class ContextAlone:
    """Skip-gram's best score that depends on the context word alone: its share of true pairs."""

    def __init__(self, classes):
        self.true, self.all = np.full(classes, 0.5), np.ones(classes)

    def fit(self, batch):
        for words, weights, true in self._pairs(batch):
            np.add.at(self.true, words.ravel(), (weights * true).ravel())
            np.add.at(self.all, words.ravel(), weights.ravel())

    def score(self, batch):
        share, total, pairs = self.true / self.all, 0.0, 0.0
        for words, weights, true in self._pairs(batch):
            right = share[words] if true else 1 - share[words]
            total -= float((weights * np.log(right)).sum())
            pairs += float(weights.sum()) if true else 0.0
        return total, pairs

    def _pairs(self, batch):
        words, weights = batch["contexts"], batch["context_weights"]
        yield words[..., 0], weights[..., 0], True
        yield words[..., 1:], weights[..., 1:], False


class Biases:
    """GloVe's best score without vectors: a bias for each word and each context, by weighted least squares."""

    def __init__(self, classes):
        self.pairs, self.word, self.context = [], np.zeros(classes), np.zeros(classes)

    def fit(self, batch):
        self.pairs.append([batch[k].ravel() for k in ("tokens", "contexts", "targets", "target_weights")])

    def score(self, batch):
        if self.pairs:
            words, contexts, targets, weights = (np.concatenate(column) for column in zip(*self.pairs, strict=True))
            self.pairs = []
            for _ in range(30):
                for mine, ids in ((self.word, words), (self.context, contexts)):
                    rest = targets - (self.word[words] + self.context[contexts] - mine[ids])
                    known = np.bincount(ids, weights, len(mine)) + 1e-2
                    mine[:] = np.bincount(ids, weights * rest, len(mine)) / known
        error = batch["targets"] - self.word[batch["tokens"]] - self.context[batch["contexts"]]
        return float((batch["target_weights"] * error**2).sum()), float((batch["target_weights"] > 0).sum())


def baselines(program, validator, terms, end):
    """{term: (value, what it is)} of every term of the loss that has a trivial baseline."""
    name, vocabulary = program.run.config.objective.name, program.run.tokenizer.vocab_size
    fitted, found = {}, {}
    for term in terms:
        if term in ("rtd", "copy"):
            share = end["replaced"]
            found[term] = -share * np.log(share) - (1 - share) * np.log(1 - share), "entropy of the replaced share"
        elif term == "scl":
            found[term] = np.log(2 * program.run.config.train.batch_size - 1), "chance"
        elif term == "contrastive":
            found[term] = np.log(program.run.config.train.batch_size), "chance"
        elif name == "skip_gram":
            fitted[term] = ContextAlone(vocabulary), "context word alone"
        elif name == "glove":
            fitted[term] = Biases(vocabulary), "biases alone"
        elif term in ("nsp", "sop", "class"):
            fitted[term] = Constant("labels", "label_weights", program.model.config.num_labels), "share of labels"
        elif term not in NOT_SCORED:
            fitted[term] = Constant("targets", "target_weights", vocabulary), "unigram"
    for batch in batches(program, program.run.data["train"], FITTED, jax.random.key(7, impl="threefry2x32")):
        for baseline, _ in fitted.values():
            baseline.fit(batch)
    totals = dict.fromkeys(fitted, (0.0, 0.0))
    for batch in batches(program, program.run.data["validation"], validator.num_batches, validator.key):
        for term, (baseline, _) in fitted.items():
            totals[term] = tuple(a + b for a, b in zip(totals[term], baseline.score(batch), strict=True))
    found |= {term: (totals[term][0] / totals[term][1], fitted[term][1]) for term in fitted}
    if "clm" in found:
        share, unigram = end["replaced"], found["clm"][0]
        hidden = totals["clm"][1] / (validator.num_batches * batch["tokens"].size)
        wrong = min(1.0, share / hidden)  # of the hidden tokens, those whose draw is not the original
        found["clm"] = wrong * (unigram - np.log(share)) - (1 - wrong) * np.log(1 - share), "copy or unigram"
    return found


def measure(workdir):
    """[(term, baseline's name, baseline, loss at the start, loss at the end)], and the steps made."""
    config = base.load(workdir / "config.json")
    with contextlib.redirect_stdout(io.StringIO()):
        program = build(config, workdir / "tokenizer")
        checkpoints = Checkpoints(workdir / "checkpoints")
        step = checkpoints.latest_whole()
        if config.objective.name == "glove":
            # Counts of the validation text, a fiftieth, are other numbers: here vectors are held against what they fit.
            program.run.data["validation"] = program.run.data["train"]
        validator = Validator(program.run)
        start = validator(program, program.new_state())
        end = validator(program, program.restore(checkpoints, step))
    checkpoints.close()
    with program.run.context():
        rows = program.run.rows(program.run.data["validation"], 0)
        terms, _ = jax.device_get(program.eval_step(program.new_state(), rows, validator.key))
    scored = [name for name, term in terms.items() if float(term.coefficient) > 0]
    known = baselines(program, validator, scored, end)
    return [(term, what, value, start[term], end[term]) for term, (value, what) in known.items()], step


def main(argv):
    del argv
    lines = []
    for name in CONFIGS.value or [name.format(runs=DIRECTORY.value) for name in ALL]:
        workdir = pathlib.Path(DIRECTORY.value) / "".join(c if c.isalnum() or c in "=_" else "-" for c in name)
        began = time.monotonic()
        train(name, workdir, SECONDS.value)
        seconds = time.monotonic() - began
        rows, step = measure(workdir)
        for term, what, baseline, start, end in rows:
            numbers = (f"{start:.3f}", f"{end:.3f}", f"{baseline:.3f} ({what})", step, f"{seconds:.0f} s")
            lines.append(tables.row(name, term, *numbers))
            print(lines[-1], file=sys.stderr, flush=True)  # it takes hours
    print(tables.heading())
    print(tables.head("config", "term", "start", "end", "trivial baseline", "steps", "in all"))
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
