"""Finetuning on sentences of real lengths beside transformers and PyTorch, in real tokens a second.

    python -m benchmarks.ragged [--rounds=3]    # needs pip install -e '.[parity]'

A BERT of MiniLM's shape (6 layers, 384 wide, 22.7M parameters) classifies sentences of about the lengths that SST-2's
have, 32 a step: words of Python's documentation, cut to lengths drawn from a gamma distribution of mean 19.3 words and
deviation 9.3. Time does not ask what they say: labels are drawn, too. Ours lays examples side by side in rows ("pack",
what a configuration has by itself) or pads to the least of a few lengths ("buckets"); PyTorch's sides (SDPA, fused
AdamW) pad every batch to its longest sentence ("dynamic") or to 128 tokens ("longest"). All have the same parameters
and sentences in each step; losses of the first step without dropout must agree. Each side has a process, and they
take turns.

Printed: real tokens a second (padding left out), the rate over that of dynamic padding, and seconds that compiling took
in all, which the rates leave out.
"""

import json
import pathlib
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.sides import EXCHANGE, SIDE, Child, serve

ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds in which every side takes the same steps.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 24, "Steps of a round.", lower_bound=1)
PEERS = ("dynamic", "longest")  # what PyTorch pads to
SIDES = ("pack", "buckets", *PEERS)
BATCH, LENGTH, VOCABULARY = 32, 128, 30522
MEAN_WORDS, DEVIATION_WORDS = 19.3, 9.3
BEFORE = 4  # steps of each turn that do not count
AGREE = 1e-4  # of the loss


def write_sentences(folder, count):
    """`count` sentences for training, and a few for validation."""
    from cloze.data import pydocs

    rng = np.random.default_rng(0)
    words = [word for document in pydocs.documents() for word in document.text.split() if word.isalpha()]
    shape = (MEAN_WORDS / DEVIATION_WORDS) ** 2
    lengths = np.maximum(1, rng.gamma(shape, MEAN_WORDS / shape, count).astype(int))
    starts = rng.integers(0, len(words) - lengths.max(), count)
    lines = [
        json.dumps({"text": " ".join(words[start : start + length]), "label": str(rng.integers(2))})
        for start, length in zip(starts, lengths, strict=True)
    ]
    for split, part in (("train", lines), ("validation", lines[:BATCH])):
        (folder / f"{split}.jsonl").write_text("\n".join(part) + "\n")


def program(exchange, batching):
    """Our Program for one way to make batches."""
    import jax

    from benchmarks import runs
    from cloze.configs.finetune import classify
    from cloze.training import resolve
    from cloze.training.run import build

    c = classify.get_config("task=jsonl:class")
    c.model.update(family="bert", preset="base", layers=6, width=384, heads=12, ffn=1536, vocab_size=VOCABULARY)
    c.task.update(files=f"{exchange}/sentences", batching=batching)
    c.data.update(sequence_length=LENGTH, source="pydocs")
    c.train.update(batch_size=BATCH, microbatches=1, steps=1000)
    c.init.inherit = False  # all parameters are random
    return build(resolve.resolve(c), devices=jax.devices()[:1], report=runs.silent).program()


class Ours:
    """Our steps, as train.py takes them."""

    def __init__(self, exchange, batching):
        import jax

        from benchmarks import runs
        from cloze.interop.save import save_hf
        from cloze.training.gradients import means

        self._jax, self._silent, self.compiling = jax, runs.silent, 0.0
        self._program = program(exchange, batching)
        self._run, self._state = self._program.run, self._program.new_state(runs.silent)
        objective, rows = self._run.objective.for_validation(), self._rows(0)
        batch = objective.corrupt(self._run.keys.at(0).corrupt, rows)
        params = self._program.full_parameters(self._state)
        outputs = jax.jit(lambda p, b: self._program.model.apply({"params": p}, b, deterministic=True))(params, batch)
        self.loss = float(sum(means({"class": objective.loss(outputs, batch)["class"]}).values()))
        if batching == "buckets":  # whose rows are an example each
            name = "BertForSequenceClassification"
            save_hf(f"{exchange}/model", self._program.model.config, params, class_name=name, report=runs.silent)
            for step in range(STEPS.value):
                kept = {key: np.asarray(value) for key, value in self._rows(step).items()}
                np.savez(f"{exchange}/{step}.npz", **kept)
            pathlib.Path(f"{exchange}/optimizer.json").write_text(json.dumps(dict(self._run.config.optimizer.items())))

    def _rows(self, step):
        return self._run.rows(self._run.data["train"], step)

    def run(self, count):
        """Seconds of `count` steps together."""
        began, compiling = time.perf_counter(), 0.0
        for step in range(count):
            rows = self._rows(step)
            compiled, _, seconds = self._program.train_step(rows, self._silent)
            compiling += seconds
            self._state, metrics = compiled(self._state, rows, self._run.keys)
        self._jax.block_until_ready((self._state, metrics))
        self.compiling += compiling
        return [time.perf_counter() - began - compiling]


class Theirs:
    """transformers and PyTorch."""

    def __init__(self, exchange, padding):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        self._torch, self.compiling = torch, 0.0
        model = transformers.BertForSequenceClassification.from_pretrained(f"{exchange}/model")
        o = json.loads(pathlib.Path(f"{exchange}/optimizer.json").read_text())
        self._batches = [self._read(exchange, step, padding) for step in range(STEPS.value)]
        model.eval()
        with torch.no_grad():
            self.loss = float(model(**self._batches[0]).loss)
        self._model, self._clip = model.train(), o["clip_norm"]
        self._optimizer = torch.optim.AdamW(
            model.parameters(), o["learning_rate"], (o["beta1"], o["beta2"]), o["epsilon"], o["weight_decay"],
            fused=True,
        )  # fmt: skip

    def _read(self, exchange, step, padding):
        ours = dict(np.load(f"{exchange}/{step}.npz"))
        mask = ours["segments"] > 0
        length = int(mask.sum(1).max()) if padding == "dynamic" else LENGTH
        room = ((0, 0), (0, max(0, length - mask.shape[1])))
        arrays = {"input_ids": ours["tokens"], "attention_mask": mask, "token_type_ids": ours["token_types"]}
        arrays = {name: np.pad(array, room)[:, :length].astype(np.int64) for name, array in arrays.items()}
        arrays["labels"] = ours["labels"].astype(np.int64)
        return {name: self._torch.from_numpy(array) for name, array in arrays.items()}

    def run(self, count):
        """Seconds of `count` steps together."""
        began = time.perf_counter()
        for batch in self._batches[:count]:
            self._model(**batch).loss.backward()
            self._torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            self._optimizer.step()
            self._optimizer.zero_grad()
        return [time.perf_counter() - began]


def side(name):
    """The side of a child."""
    return (Theirs if name in PEERS else Ours)(EXCHANGE.value, name)


def main(argv):
    """Compares the four sides."""
    del argv
    if SIDE.value:
        serve(side(SIDE.value), ("loss",), ("compiling",))
        return
    with tempfile.TemporaryDirectory() as exchange:
        folder = pathlib.Path(exchange) / "sentences"
        folder.mkdir()
        write_sentences(folder, STEPS.value * BATCH)
        order = ("buckets", "pack", "dynamic", "longest")  # the first writes what the others read
        arguments = [f"--steps={STEPS.value}"]
        children = {name: Child(__spec__.name, name, exchange, arguments, peer=name in PEERS) for name in order}
        losses = {name: child.facts["loss"] for name, child in children.items()}
        if max(losses.values()) - min(losses.values()) > AGREE:
            raise SystemExit(f"the losses differ, nothing was timed: {losses}")
        tokens = sum(int((np.load(f"{exchange}/{step}.npz")["segments"] > 0).sum()) for step in range(STEPS.value))
        for child in children.values():
            child.run(STEPS.value)  # compiles
            child.took.clear()
        for _ in range(ROUNDS.value):
            for child in children.values():
                child.run(STEPS.value, before=BEFORE)
        for child in children.values():
            child.close()
    rates = {name: tokens / float(np.median(child.took)) for name, child in children.items()}
    print(tables.heading(f"{tokens / STEPS.value / BATCH:.1f} tokens a sentence", f"loss {losses['pack']:.4f}"))
    columns = ("real tokens/s", "of dynamic padding", f"of padding to {LENGTH}", "compiled in")
    print(tables.head("side", *columns))
    for name in SIDES:
        ratios = [f"{rates[name] / rates[other]:.2f}" for other in PEERS]
        print(tables.row(name, f"{rates[name]:.0f}", *ratios, f"{children[name].last['compiling']:.0f} s"))


if __name__ == "__main__":
    app.run(main)
