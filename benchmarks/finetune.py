"""What a frozen parameter saves: the step of each strategy against the full one's, side by side.

    python -m benchmarks.finetune [--rounds=5]

A 12-layer, 256-wide encoder classifies 16 texts of 128 tokens of the task `package`; all parameters are random, which
changes no time. Reading the rows is part of a step. Steps of all strategies alternate, round by round, and the median
counts. Optimizer bytes are Adam's two moments of what trains.
"""

import statistics
import time

import jax
from absl import app, flags

from benchmarks import runs
from cloze.configs.finetune import classify
from cloze.training import features, resolve
from cloze.training.run import build

ONLY = flags.DEFINE_list("only", [], "Words, one of which a strategy has in its name, beside the full one; empty: all.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of alternating steps.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 3, "Steps of a strategy in a round.", lower_bound=1)
LAYERS = 12
LINEAR = ((r".*/layers/.*", True), (r".*", False))
# name: (method, further options of config.finetune, most of a full step's time that is asked for)
STRATEGIES = {
    "full": ("full", {}, None),
    "linear probe": ("linear_probe", {"cache_features": False}, 1 / 3),
    "linear probe, kept features": ("linear_probe", {}, 1 / 30),
    "bottom half frozen": ("freeze", {"layers": LAYERS // 2}, 0.7),
    "last layer": ("last_layers", {"layers": 1}, None),
    "LoRA, r=8": ("lora", {"lora_rank": 8}, 0.75),
    "LoRA, r=8, all linear maps": ("lora", {"lora_rank": 8, "lora_targets": LINEAR}, 0.75),
    "DoRA, r=8, all linear maps": ("dora", {"lora_rank": 8, "lora_targets": LINEAR}, None),
    "adapters": ("adapters", {}, None),
    "prefix": ("prefix", {}, None),
    "prompt": ("prompt", {"prompt_length": 20}, None),
    "biases": ("bitfit", {}, None),
}


class Strategy:
    """A compiled step, and the state that it goes on from."""

    def __init__(self, method, options):
        c = classify.get_config(f"tiny,method={method},limit=256")
        c.model.update(
            family="bert", preset="base", layers=LAYERS, width=256, heads=4, ffn=1024, dropout=0.0,
            attention_dropout=0.0, vocab_size=8192,
        )  # fmt: skip
        c.tokenizer.vocab_size = 8192
        c.data.sequence_length = 128
        c.task.batching = "pad"
        c.train.update(batch_size=16, steps=1000)
        c.optimizer.update(name="adamw", warmup_steps=10, decay_steps=1000, schedule="linear")
        c.init.inherit = False  # all parameters are random
        c.finetune.update(options)
        program = build(resolve.resolve(c), devices=jax.devices()[:1], report=runs.silent).program()
        state = program.new_state(runs.silent)
        program, self._state = features.with_features(program, state, True, runs.silent)
        self.program = program
        with program.run.context():
            self._step = program.trace_train_step().lower().compile()
        self.times = []

    def run(self, count):
        """Times `count` steps, and keeps the mean."""
        began = time.perf_counter()
        for number in range(count):
            rows = self.program.run.rows(self.program.run.data["train"], number)
            self._state, metrics = self._step(self._state, rows, self.program.run.keys)
        jax.block_until_ready((self._state, metrics))
        self.times.append((time.perf_counter() - began) / count)

    def sizes(self):
        """(trainable parameters, all, bytes of the optimizer's state)."""
        everything, trainable = self.program.parameter_counts()
        state = jax.tree.leaves(self._state.opt_state)
        return trainable, everything, sum(leaf.size * leaf.dtype.itemsize for leaf in state)


def main(argv):
    """Builds all, runs them in turns, prints the table."""
    del argv
    print(runs.machine(), flush=True)
    wanted = [name for name in STRATEGIES if not ONLY.value or any(word in name for word in ["full", *ONLY.value])]
    made = {name: Strategy(*STRATEGIES[name][:2]) for name in wanted}
    for strategy in made.values():
        strategy.run(1)
        strategy.times.clear()
    for _ in range(ROUNDS.value):
        for name, strategy in made.items():
            strategy.run(STEPS.value * (30 if "kept" in name else 1))
    full = statistics.median(made["full"].times)
    print("| strategy | ms a step | of the full one | asked for | trainable | optimizer MiB | bytes a parameter |")
    print("|---|---|---|---|---|---|---|")
    for name, strategy in made.items():
        took, (trainable, _, size) = statistics.median(strategy.times), strategy.sizes()
        asked = STRATEGIES[name][2]
        print(
            f"| {name} | {1e3 * took:.1f} | {took / full:.3f} | {f'{asked:.3f}' if asked else ''} | {trainable:,} "
            f"| {size / 2**20:.3f} | {size / trainable:.2f} |"
        )


if __name__ == "__main__":
    app.run(main)
