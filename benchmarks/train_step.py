"""A training step of full-size models beside the same step in transformers and PyTorch.

    python -m benchmarks.train_step [--only=bert_base,gpt2,t5] [--rounds=3]    # needs pip install -e '.[parity]'

Each side has a process of its own, and only one of them computes at a time: round by round, ours, PyTorch as it is
("eager": SDPA attention, fused AdamW) and PyTorch compiled. All have the same parameters, written by us and read by
transformers, the same 8 rows of 128 tokens of real text, the same dropout rates and clipping, and AdamW; only our T5
keeps its Adafactor. Before anything is timed, their losses without dropout must agree. The first two steps of each
turn are not counted. Ours also corrupts the rows and counts metrics; theirs gets the batch as we have corrupted it. The
better of the two PyTorch steps is the peer.

Printed: the median step, tokens a second (of all streams, padding left out), the ratio of the rates, the share of the
rate of a matrix product measured in the same process while the others wait, peak memory, and seconds to the first step.
Behind the table: losses, operations, and what the compiled step of ours needs by itself, parameters and optimizer
included.
"""

import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.sides import EXCHANGE, SIDE, Child, serve

ONLY = flags.DEFINE_list("only", [], "Experiments; empty: all.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of alternating steps.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 3, "Steps of a side in a round.", lower_bound=1)
PEERS = flags.DEFINE_list("peers", ["eager", "compiled"], "Sides of PyTorch; compiling takes minutes on a CPU.")
OVERRIDES = flags.DEFINE_list("set", [], "Options of our side, such as model.scan=False.")

ROWS, LENGTH = 8, 128
BEFORE = 2  # steps of each turn that do not count
AGREE = 1e-4  # of the loss
EXPERIMENTS = {  # {config: class of transformers}
    "bert_base": "BertForPreTraining",
    "gpt2": "GPT2LMHeadModel",
    "t5": "T5ForConditionalGeneration",
}
ADAMW = dict(beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)  # of the peer, where our optimizer has not these


def full_size(experiment, overrides=()):
    """The Program of an experiment's full-size model on rows of this benchmark.

    Args:
        experiment: name of a file in configs/.
        overrides: options, each "section.name=value".
    """
    import importlib

    import jax

    from benchmarks import runs
    from cloze.training import resolve
    from cloze.training.run import build

    config = importlib.import_module(f"cloze.configs.{experiment}").get_config()
    config.train.update(batch_size=ROWS, microbatches=1, steps=1000)
    config.data.sequence_length = LENGTH
    config.model.remat = "none"
    for override in overrides:
        key, _, value = override.partition("=")
        section, _, name = key.partition(".")
        config[section][name] = json.loads(value.lower()) if value.lower() in ("true", "false") else value
    return build(resolve.resolve(config), devices=jax.devices()[:1], report=runs.silent).program()


class Ours:
    """Our step, as train.py compiles it."""

    def __init__(self, experiment, exchange):
        import jax

        from benchmarks import runs
        from cloze.interop.save import save_hf
        from cloze.parallel import cost
        from cloze.training.gradients import means

        self._jax, self._cost = jax, cost
        program = full_size(experiment, OVERRIDES.value)
        run, self._state = program.run, program.new_state(runs.silent)
        self._rows, self._keys = run.rows(run.data["train"], 0), run.keys
        objective = run.objective.for_validation()
        batch = objective.corrupt(run.keys.at(0).corrupt, self._rows)
        params = program.full_parameters(self._state)
        outputs = jax.jit(lambda p, b: program.model.apply({"params": p}, b, deterministic=True))(params, batch)
        terms = {name: term for name, term in objective.loss(outputs, batch).items() if term.coefficient}
        save_hf(
            f"{exchange}/model", program.model.config, params, class_name=EXPERIMENTS[experiment], report=runs.silent
        )
        np.savez(f"{exchange}/batch.npz", **{name: np.asarray(array) for name, array in batch.items()})
        said = {
            name: value
            for name, value in run.config.optimizer.items()
            if name in ("learning_rate", "clip_norm", *ADAMW)
        }
        facts = {"loss": float(sum(means(terms).values())), **ADAMW, **said}
        pathlib.Path(f"{exchange}/facts.json").write_text(json.dumps(facts))
        began = time.perf_counter()
        with run.context():
            traced = program.trace_train_step(self._rows)
            self._step = traced.lower().compile()
        self.flops = cost.count_flops(traced.jaxpr)
        self.needs = cost.memory(self._step)["total"]
        self.loss = facts["loss"]
        self.run(1)
        self.first = time.perf_counter() - began
        self.tokens = float(self._metrics["tokens"])

    def run(self, count):
        """Seconds of each of `count` steps."""
        took = []
        for _ in range(count):
            began = time.perf_counter()
            self._state, self._metrics = self._step(self._state, self._rows, self._keys)
            self._jax.block_until_ready((self._state, self._metrics))
            took.append(time.perf_counter() - began)
        return took

    def rate(self):
        """FLOP/s of a matrix product, now."""
        return self._cost.measured_rate("float32")


class Theirs:
    """transformers and PyTorch, trained as their users do."""

    def __init__(self, experiment, exchange, compiled):
        import torch
        import transformers

        self._torch = torch
        transformers.logging.set_verbosity_error()
        model = getattr(transformers, EXPERIMENTS[experiment]).from_pretrained(f"{exchange}/model")
        facts = json.loads(pathlib.Path(f"{exchange}/facts.json").read_text())
        self._inputs = {name: torch.from_numpy(array) for name, array in self._translate(experiment, exchange).items()}
        self._targets = self._inputs.pop("targets", None)  # where they are not shifted
        model.eval()
        with torch.no_grad():
            self.loss = float(self._loss(model))
        self._clip, self._model = facts["clip_norm"], model.train()
        self._optimizer = torch.optim.AdamW(
            model.parameters(), facts["learning_rate"], (facts["beta1"], facts["beta2"]), facts["epsilon"],
            facts["weight_decay"], fused=True,
        )  # fmt: skip
        self._forward = torch.compile(self._loss) if compiled else self._loss
        began = time.perf_counter()
        self.run(1)
        self.first = time.perf_counter() - began

    @staticmethod
    def _translate(experiment, exchange):
        """Our batch in the words of transformers; -100 is nothing to predict."""
        ours = dict(np.load(f"{exchange}/batch.npz"))
        inputs = {"input_ids": ours["tokens"].astype(np.int64)}
        if "segments" in ours and experiment != "gpt2":
            inputs["attention_mask"] = (ours["segments"] > 0).astype(np.int64)
        if "token_types" in ours:
            inputs["token_type_ids"] = ours["token_types"].astype(np.int64)
        targets = np.where(ours["target_weights"] > 0, ours["targets"], -100).astype(np.int64)
        if experiment == "bert_base":
            labels = np.full(ours["tokens"].shape, -100, np.int64)
            for row, places, wanted in zip(labels, ours["prediction_positions"], targets, strict=True):
                row[places[wanted >= 0]] = wanted[wanted >= 0]
            return inputs | {"labels": labels, "next_sentence_label": ours["labels"].astype(np.int64)}
        if experiment == "t5":
            return inputs | {"labels": targets, "decoder_input_ids": ours["decoder_tokens"].astype(np.int64)}
        return inputs | {"targets": targets}

    def _loss(self, model):
        outputs = model(**self._inputs)
        if self._targets is None:
            return outputs.loss
        logits = outputs.logits
        return self._torch.nn.functional.cross_entropy(logits.flatten(0, 1), self._targets.flatten())

    def run(self, count):
        """Seconds of each of `count` steps."""
        took = []
        for _ in range(count):
            began = time.perf_counter()
            self._forward(self._model).backward()
            if self._clip:
                self._torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            self._optimizer.step()
            self._optimizer.zero_grad()
            took.append(time.perf_counter() - began)
        return took


def side(experiment):
    """The side of a child."""
    if SIDE.value == "ours":
        return Ours(experiment, EXCHANGE.value)
    return Theirs(experiment, EXCHANGE.value, SIDE.value == "compiled")


def compare(experiment):
    """(lines of the table, a sentence on what was compared)."""
    with tempfile.TemporaryDirectory() as exchange:
        arguments = [f"--only={experiment}", f"--set={','.join(OVERRIDES.value)}"]
        names = ("ours", *PEERS.value)
        children = {name: Child(__spec__.name, name, exchange, arguments, peer=name != "ours") for name in names}
        losses = {side: child.facts["loss"] for side, child in children.items()}
        if max(abs(loss - losses["ours"]) for loss in losses.values()) > AGREE * losses["ours"]:
            raise SystemExit(f"{experiment}: the losses differ, nothing was timed: {losses}")
        for _ in range(ROUNDS.value):
            children["ours"].measure()
            for child in children.values():
                child.run(STEPS.value, before=BEFORE)
        for child in children.values():
            child.close()
    steps = {side: statistics.median(child.took) for side, child in children.items()}
    tokens, flops = children["ours"].facts["tokens"], children["ours"].facts["flops"]
    rate = statistics.median(children["ours"].rates)
    peer = min(steps[side] for side in PEERS.value)
    lines = []
    for side, child in children.items():
        share = f"{flops / steps[side] / rate:.0%}" if side == "ours" else ""
        ratio = f"{peer / steps[side]:.2f}" if side == "ours" else ""
        peak, first = f"{child.last['peak'] / 2**30:.1f} GiB", f"{child.facts['first']:.0f} s"
        speed = (f"{steps[side]:.2f} s", f"{tokens / steps[side]:.0f}")
        lines.append(tables.row(experiment, side, *speed, ratio, share, peak, first))
    needs = children["ours"].facts["needs"] / 2**30
    return lines, (
        f"{experiment}: loss {losses['ours']:.4f}, {flops / 1e9:.0f} GFLOP and {needs:.1f} GiB a step of ours, "
        f"products at {rate / 1e9:.0f} GFLOP/s."
    )


def main(argv):
    """Compares one experiment after the other."""
    del argv
    if SIDE.value:
        serve(side(ONLY.value[0]), ("loss", "first", "flops", "needs", "tokens"))
        return
    print(tables.heading())
    columns = ("config", "side", "step", "tokens/s", "rate over the peer's", "of a product's rate", "memory")
    print(tables.head(*columns, "first step"))
    remarks = []
    for experiment in ONLY.value or EXPERIMENTS:
        lines, remark = compare(experiment)
        print("\n".join(lines), flush=True)
        remarks.append(remark)
    print("\n" + "\n".join(remarks))


if __name__ == "__main__":
    app.run(main)
