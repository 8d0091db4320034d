"""How long compiling a training step takes as a model gets deeper.

    python -m benchmarks.depth [--layers=12,24,48] [--rounds=3]

GPT-2 at a small width, its layers as a loop ("scanned", what accelerators have by themselves) and one by one
("unrolled", what a CPU has by itself up to 16 layers). Each depth has a process of its own; they take turns, and
compile anew each time, without a cache. Tracing and lowering are part of the time.
"""

import statistics
import time

from absl import app, flags

from benchmarks import tables
from benchmarks.sides import SIDE, Child, serve

LAYERS = flags.DEFINE_list("layers", ["12", "24", "48"], "Depths whose layers are a loop.")
UNROLLED = flags.DEFINE_list("unrolled", ["12"], "Depths whose layers are unrolled.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds in which every depth compiles once.", lower_bound=1)
WIDTH, ROWS, LENGTH = 256, 8, 128


class Ours:
    """The training step of one depth.

    Args:
        form: "scanned" or "unrolled".
        layers: the depth.
    """

    def __init__(self, form, layers):
        import jax

        from benchmarks import runs
        from cloze.configs import gpt2
        from cloze.training import resolve
        from cloze.training.run import build

        self._jax = jax
        config = gpt2.get_config()
        config.model.update(layers=layers, width=WIDTH, heads=WIDTH // 64, ffn=4 * WIDTH, scan=form == "scanned")
        config.model.remat = "none"
        config.train.update(batch_size=ROWS, microbatches=1, steps=1000)
        config.data.sequence_length = LENGTH
        self._program = build(resolve.resolve(config), devices=jax.devices()[:1], report=runs.silent).program()

    def run(self, count):
        """Seconds of compiling, `count` times."""
        took = []
        for _ in range(count):
            self._jax.clear_caches()
            began = time.perf_counter()
            traced = self._program.trace_train_step()
            with self._program.run.context():
                traced.lower().compile()
            took.append(time.perf_counter() - began)
        return took


def main(argv):
    """Compares the depths."""
    del argv
    if SIDE.value:
        form, layers = SIDE.value.split("-")
        serve(Ours(form, int(layers)), ())
        return
    names = [f"scanned-{layers}" for layers in LAYERS.value] + [f"unrolled-{layers}" for layers in UNROLLED.value]
    children = {name: Child(__spec__.name, name, "none", peer=False) for name in names}
    for _ in range(ROUNDS.value):
        for child in children.values():
            child.run(1)
    print(tables.heading(f"{WIDTH} wide", f"rows of [{ROWS}, {LENGTH}]"))
    print(tables.head("layers", "as", "compiled in", f"of {LAYERS.value[0]} scanned"))
    first = statistics.median(children[names[0]].took)
    for name, child in children.items():
        child.close()
        (form, layers), median = name.split("-"), statistics.median(child.took)
        print(tables.row(layers, form, f"{median:.1f} s", f"{median / first:.2f}"))


if __name__ == "__main__":
    app.run(main)
