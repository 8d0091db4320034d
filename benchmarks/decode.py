"""Greedy decoding beside transformers' `generate`, on the same machine and the same weights.

    python -m benchmarks.decode [--batch_sizes=1,8] [--rounds=5] [--peer_threads=1]

GPT-2 small with random parameters, which go to transformers through interop.save_hf. Each side is a process of its own,
and rounds of all sides alternate. Before anything is timed, all must write the same tokens. The peer is the better of
transformers' dynamic and static cache. Where other programs take part of the cores, PyTorch's threads wait for each
other, and one of them may be faster than two.

Printed: tokens a second of the prompts (a call that writes one token) and of what is written behind them (the further
tokens of a longer call), the ratio of the rates, what the parameters' bytes make of the latter in GB/s, and the seconds
that the first calls took longer than later ones. The last line says how fast a vector times a matrix of so many bytes
reads it, measured in the same rounds while the others wait.
"""

import statistics
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.sides import EXCHANGE, SIDE, Child, say

BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "8"], "Rows that are written at once, one after the other.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of alternating calls.", lower_bound=1)
PROMPT = flags.DEFINE_integer("prompt", 128, "Tokens of a prompt.", lower_bound=1)
WRITTEN = flags.DEFINE_integer("written", 64, "Tokens that are written, beside the first.", lower_bound=1)
PEER_THREADS = flags.DEFINE_integer("peer_threads", 0, "Threads of PyTorch; 0: as many as it likes.", lower_bound=0)

PEERS = "dynamic", "static"  # the caches of transformers
MODEL = dict(family="gpt2", preset="small")
NEVER = -1  # an id that ends no text


class Ours:
    """decoding.write, as generate.py calls it."""

    def __init__(self, exchange):
        import jax
        from flax.core import meta

        from cloze import decoding, interop, models

        self._jax, self._decoding = jax, decoding
        self._model = models.build(models.resolve(MODEL))
        init = jax.jit(lambda key: meta.unbox(self._model.init(key, models.example_batch())["params"]))
        params = init(jax.random.key(0))
        interop.save_hf(
            f"{exchange}/model", self._model.config, params, class_name="GPT2LMHeadModel", report=lambda line: None
        )
        self._params = decoding.for_writing(params)
        self.facts = {"bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(params))}

    def write(self, prompts, count):
        """int [B, count]."""
        written = self._decoding.write(
            self._model, self._params, {"tokens": prompts}, np.full(len(prompts), prompts.shape[1], np.int32),
            np.ones(self._model.config.vocab_size, bool), options=self._decoding.DecodingOptions(max_tokens=count),
            end_ids=(NEVER,), pad_id=0,
        )  # fmt: skip
        return written.tokens

    def rate(self):
        """Bytes a second that a vector times a large matrix reads, now."""
        matrix, vector = self._jax.numpy.ones((1 << 17, 1024)), self._jax.numpy.ones(1024)
        product, took = self._jax.jit(lambda a, b: a @ b), []
        for _ in range(4):
            began = time.perf_counter()
            product(matrix, vector).block_until_ready()
            took.append(time.perf_counter() - began)
        return matrix.nbytes / min(took[1:])


class Theirs:
    """transformers' `generate`, greedy, with one of its caches."""

    def __init__(self, exchange, cache):
        import torch
        import transformers

        self._torch = torch
        transformers.logging.set_verbosity_error()
        if PEER_THREADS.value:
            torch.set_num_threads(PEER_THREADS.value)
        self._model = transformers.GPT2LMHeadModel.from_pretrained(f"{exchange}/model").eval()
        self._model.generation_config.eos_token_id = None
        self._options = {"cache_implementation": "static"} if cache == "static" else {}
        self.facts = {}

    def write(self, prompts, count):
        """int [B, count]."""
        ids = self._torch.from_numpy(prompts.astype(np.int64))
        with self._torch.inference_mode():
            tokens = self._model.generate(
                ids, attention_mask=self._torch.ones_like(ids), do_sample=False, num_beams=1, use_cache=True,
                max_new_tokens=count, pad_token_id=0, **self._options,
            )  # fmt: skip
        return tokens[:, prompts.shape[1] :].numpy()


def serve():
    """A child: answers "write ROWS COUNT" and "rate" line by line."""
    side = Ours(EXCHANGE.value) if SIDE.value == "ours" else Theirs(EXCHANGE.value, SIDE.value)
    say(side.facts)
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "rate":
            say({"rate": side.rate()})
            continue
        rows, count = map(int, numbers)
        prompts = np.random.default_rng(rows).integers(0, 50257, (rows, PROMPT.value)).astype(np.int32)
        began = time.perf_counter()
        tokens = side.write(prompts, count)
        say({"took": time.perf_counter() - began, "tokens": tokens.tolist()})


def compare(children, rows, rates):
    """Lines of the table for one batch size; measured rates of reading are added to `rates`."""
    calls = [f"write {rows} {count}" for count in (1, 1 + WRITTEN.value)]
    first = {side: [child.ask(call) for call in calls] for side, child in children.items()}
    tokens = {side: answers[-1]["tokens"] for side, answers in first.items()}
    if different := [side for side in PEERS if tokens[side] != tokens["ours"]]:
        raise SystemExit(f"{rows} rows: {', '.join(different)} wrote other tokens than ours, nothing was timed")
    took = {side: [] for side in children}
    for _ in range(ROUNDS.value):
        rates.append(children["ours"].ask("rate")["rate"])
        for side, child in children.items():
            took[side].append([child.ask(call)["took"] for call in calls])
    medians = {side: [statistics.median(column) for column in zip(*took[side], strict=True)] for side in children}
    reading = {side: rows * PROMPT.value / short for side, (short, _) in medians.items()}
    writing = {side: rows * WRITTEN.value / (whole - short) for side, (short, whole) in medians.items()}
    for side in children:
        ratios = ("", "")
        if side == "ours":
            ratios = [f"{rate['ours'] / max(rate[peer] for peer in PEERS):.2f}" for rate in (reading, writing)]
        compiling = sum(a["took"] - m for a, m in zip(first[side], medians[side], strict=True))
        gigabytes = writing[side] / rows * children["ours"].facts["bytes"] / 1e9
        read, written = f"{reading[side]:.0f}", f"{writing[side]:.1f}"
        yield tables.row(rows, side, read, ratios[0], written, ratios[1], f"{gigabytes:.1f}", f"{compiling:.1f} s")


def main(argv):
    """Compares one batch size after the other."""
    del argv
    if SIDE.value:
        serve()
        return
    print(tables.heading())
    columns = ("prompt tokens/s", "over the peer's", "written tokens/s", "over the peer's", "GB/s", "compiling")
    print(tables.head("rows", "side", *columns))
    with tempfile.TemporaryDirectory() as exchange:
        arguments, rates = [f"--prompt={PROMPT.value}", f"--peer_threads={PEER_THREADS.value}"], []
        children = {
            side: Child(__spec__.name, side, exchange, arguments, peer=side in PEERS) for side in ("ours", *PEERS)
        }  # fmt: skip
        for rows in map(int, BATCH_SIZES.value):
            for line in compare(children, rows, rates):
                print(line, flush=True)
        for child in children.values():
            child.close()
    size, rate = children["ours"].facts["bytes"], statistics.median(rates)
    print(f"\n{size / 1e9:.2f} GB of parameters; a vector times a matrix reads {rate / 1e9:.1f} GB/s.")


if __name__ == "__main__":
    app.run(main)
