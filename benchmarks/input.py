"""From text to the batch on the device, beside the usual recipe of Hugging Face, in tokens a second of one core.

    python -m benchmarks.input [--rounds=3] [--documents=5000]    # needs pip install -e '.[parity]' datasets

Both sides read the same documents (the embedded corpus, a JSON line each) with the same wordpiece tokenizer, make rows
of 128 tokens of the joined text, and hide 15% of them as BERT does. Ours: `data.corpus.prepare`, then the rows of a
step and the objective's `corrupt` as a compiled function of its own (in a run it is part of the step). Theirs: `map` to
tokenise, `map` to join and cut (transformers' run_mlm.py), and `DataLoader` in one process with
DataCollatorForLanguageModeling. Each side has a process of its own, and they take turns.

A rate is tokens over the processor seconds of all threads of the process, so that neither threads nor what else runs
on the machine count for much; "wall" is over seconds that passed. "prepare" is done once for a corpus; "serve" every
step; "rows" is the part of ours that a run does on its reading thread, "corrupt" what it does inside the step.
"""

import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.sides import EXCHANGE, SIDE, Child, say

ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds in which both sides do the same.", lower_bound=1)
DOCUMENTS = flags.DEFINE_integer("documents", 5000, "Documents of the embedded corpus.", lower_bound=100)
BATCHES = flags.DEFINE_integer("batches", 50, "Batches that are served in a turn.", lower_bound=1)
ROWS, LENGTH, VOCABULARY, SHARE = 256, 128, 30522, 0.15
STAGES = ("prepare", "serve", "rows", "corrupt")


def timed(function):
    """{"wall", "cpu": seconds of a call; "tokens": what it returns}."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = function()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "tokens": int(tokens)}


class Ours:
    """What a run does.

    Args:
        exchange: directory with text.jsonl; the tokenizer is put there.
    """

    def __init__(self, exchange):
        import jax

        from benchmarks import runs
        from cloze.configs import bert_base
        from cloze.interop import tokenizers
        from cloze.training import resolve
        from cloze.training.run import build

        self._jax, self._exchange = jax, pathlib.Path(exchange)
        c = bert_base.get_config("pairs=none")
        c.data.update(
            source=f"jsonl:{exchange}/text.jsonl", cache_dir=f"{exchange}/cache", sequence_length=LENGTH,
            packing="windows",
        )  # fmt: skip
        c.tokenizer.vocab_size = VOCABULARY
        c.model.update(layers=1, width=64, heads=1, ffn=64)  # which nothing here runs
        c.train.update(batch_size=ROWS, microbatches=1, steps=1000)
        self._run = build(resolve.resolve(c), devices=jax.devices()[:1], report=runs.silent)
        tokenizers.save_hf(self._run.tokenizer, f"{exchange}/tokenizer")
        self._corrupt, self._step = jax.jit(self._run.objective.corrupt), 0
        self._corrupted(self._rows(1)[0])  # compiles

    def prepare(self):
        """Tokens of the prepared corpus."""
        from benchmarks import runs
        from cloze.data import corpus, sources

        ((source, _),) = sources.of_split(self._run.config.data, "train")
        options = dict(document_end=self._run.objective.rows.document_end, validation_share=0.0, report=runs.silent)
        made = corpus.prepare(source, self._run.tokenizer, self._exchange / "anew", **options)
        shutil.rmtree(self._exchange / "anew")
        return made.manifest["splits"]["train"]["tokens"]

    def _rows(self, count):
        """The rows of the next steps, one by one."""
        self._step += count
        return [self._run.rows(self._run.data["train"], step) for step in range(self._step - count, self._step)]

    def _corrupted(self, rows):
        with self._run.context():
            return self._jax.block_until_ready(self._corrupt(self._run.keys.at(self._step).corrupt, rows))

    def serve(self):
        """Tokens of batches on the device, corrupted."""
        for _ in range(BATCHES.value):
            self._corrupted(self._rows(1)[0])
        return BATCHES.value * ROWS * LENGTH

    def rows(self):
        """Tokens of batches on the device."""
        for _ in range(BATCHES.value):
            self._jax.block_until_ready(self._rows(1))
        return BATCHES.value * ROWS * LENGTH

    def corrupt(self):
        """Tokens of corrupted batches, each of the same rows."""
        (rows,) = self._rows(1)
        for _ in range(BATCHES.value):
            self._corrupted(rows)
        return BATCHES.value * ROWS * LENGTH


class Theirs:
    """Hugging Face's datasets, transformers' collator and PyTorch's loader; arguments as of Ours."""

    def __init__(self, exchange):
        import datasets
        import transformers

        datasets.disable_progress_bars()
        transformers.logging.set_verbosity_error()
        self._exchange = exchange
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(f"{exchange}/tokenizer")
        self._raw = datasets.load_dataset(
            "json", data_files=f"{exchange}/text.jsonl", split="train", cache_dir=f"{exchange}/datasets"
        )
        self._prepared = self._map()
        self._iterator = iter(())

    def _map(self):
        tokenizer = self._tokenizer  # datasets takes a hash of what a function holds

        def tokenise(examples):
            return tokenizer(examples["text"], return_special_tokens_mask=True)

        def join(examples):
            joined = {key: [token for part in parts for token in part] for key, parts in examples.items()}
            total = len(joined["input_ids"]) // LENGTH * LENGTH
            return {key: [v[i : i + LENGTH] for i in range(0, total, LENGTH)] for key, v in joined.items()}

        options = dict(batched=True, load_from_cache_file=False)
        return self._raw.map(tokenise, remove_columns=["text"], **options).map(join, **options)

    def prepare(self):
        """Tokens of the prepared data set."""
        self._prepared = self._map()
        return len(self._prepared) * LENGTH

    def _batches(self):
        import torch
        import transformers

        collator = transformers.DataCollatorForLanguageModeling(self._tokenizer, mlm_probability=SHARE)
        while True:
            yield from torch.utils.data.DataLoader(
                self._prepared, ROWS, shuffle=True, collate_fn=collator, drop_last=True
            )

    def serve(self):
        """Tokens of batches, corrupted."""
        batches = self._batches()
        return sum(next(batches)["input_ids"].numel() for _ in range(BATCHES.value))


def serve():
    """A child: answers the names of stages line by line."""
    side = (Ours if SIDE.value == "ours" else Theirs)(EXCHANGE.value)
    say({})
    for line in sys.stdin:
        say(timed(getattr(side, line.strip())))


def main(argv):
    """Compares the stages."""
    del argv
    if SIDE.value:
        serve()
        return
    from cloze.data import pydocs

    with tempfile.TemporaryDirectory() as exchange:
        texts = [document.text for document in pydocs.documents()][: DOCUMENTS.value]
        lines = [json.dumps({"text": text}) + "\n" for text in texts]
        pathlib.Path(f"{exchange}/text.jsonl").write_text("".join(lines))
        flag = [f"--batches={BATCHES.value}"]
        children = {side: Child(__spec__.name, side, exchange, flag, peer=side != "ours") for side in ("ours", "peer")}
        found = {}
        for _ in range(ROUNDS.value):
            for stage in STAGES:
                for side, child in children.items():
                    if side == "ours" or hasattr(Theirs, stage):
                        found.setdefault((stage, side), []).append(child.ask(stage))
        for child in children.values():
            child.close()
    print(tables.heading(f"rows of [{ROWS}, {LENGTH}]"))
    print(tables.head("stage", "side", "tokens", "tokens/s of a core", "over the peer's", "tokens/s, wall"))
    rates = {key: {c: np.median([a["tokens"] / a[c] for a in answers]) for c in ("cpu", "wall")}
             for key, answers in found.items()}  # fmt: skip
    for (stage, side), answers in found.items():
        ratio = None
        if side == "ours" and (stage, "peer") in rates:
            ratio = f"{rates[stage, side]['cpu'] / rates[stage, 'peer']['cpu']:.1f}"
        tokens = statistics.median(answer["tokens"] for answer in answers)
        speeds = [f"{rates[stage, side][clock] / 1e3:,.0f}k" for clock in ("cpu", "wall")]
        print(tables.row(stage, side, f"{tokens:,.0f}", speeds[0], ratio, speeds[1]))


if __name__ == "__main__":
    app.run(main)
