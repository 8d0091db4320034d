"""Where the time of a full-size training step goes on a CPU.

    python -m benchmarks.step_profile [--only=bert_base,gpt2,t5] [--set=model.scan=True]

A step is compiled as train.py does, run a few times, and once more under JAX's profiler, which times every kernel of
the compiled program. Kernels are told apart by what they do and where in the model they come from; kernels overlap, so
that the parts of a step may add up to more than its time. Products of weight gradients run beside others in a pool of
their own, and are timed only while they are started: the line of products is what is left of the step without the rest.
"""

import collections
import glob
import gzip
import json
import re
import statistics
import tempfile
import time

import jax
from absl import app, flags

from benchmarks import runs, tables
from benchmarks.train_step import EXPERIMENTS, ONLY, OVERRIDES, full_size
from cloze.parallel import cost

MOST = flags.DEFINE_integer("most", 0, "Kernels that are listed as well, the longest first.", lower_bound=0)
STEPS = 3  # not counted: the first
PARTS = (  # (part of a step, pattern over "opcode, shape, kernel, place"); the first that matches
    ("slices and stacks of layers", r"slice|concatenate|^\S+ \S+ wrapped_broadcast"),
    ("layout copies", r"^\S+ \S+ \S*(copy|transpose)"),
    ("random bits", r"^\S+ [us](8|16|32)\["),
    ("head and loss", r"_head/|/(transpose\()?jvp\(\)"),
    ("embeddings", r"embeddings/"),
    ("attention", r"/(cross_)?attention/"),
    ("feed-forward", r"/ffn/"),
    ("norms and residuals", r"Transformer"),
    ("optimizer, norms of gradients", r"jit\(train_step\)/|^\S+ \S+ wrapped_"),
)


def kernels(text):
    """{kernel of a compiled program: (whether it is a product, "opcode, shape, kernel, place")}."""
    products, found, computation = set(), {}, ""
    for line in text.splitlines():
        if begin := re.match(r"%?([\w.\-]+) \(", line):
            computation = begin[1]
        if " dot(" in line:
            products.add(computation)
    for line in text.splitlines():
        if given := re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+) ([\w\-]+)\(", line):
            name, shape, opcode = given.groups()
            place, called = re.search(r'op_name="([^"]*)"', line), re.search(r"calls=%?([\w.\-]+)", line)
            product = opcode == "dot" or (called is not None and called[1] in products and "dot_fusion" not in name)
            found[name] = product, f"{opcode} {shape} {name} {place[1] if place else ''}"
    return found


def profile(step):
    """Seconds of one call of `step`, and {kernel: seconds in it}."""
    options = jax.profiler.ProfileOptions()
    options.host_tracer_level, options.python_tracer_level = 3, 0
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory, profiler_options=options):
            began = time.perf_counter()
            step()
            took = time.perf_counter() - began
        (path,) = glob.glob(f"{directory}/**/*.trace.json.gz", recursive=True)
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
    seconds = collections.Counter()
    for event in events:
        if event.get("ph") == "X":
            seconds[event["name"]] += event["dur"] / 1e6
    return took, seconds


def lines_of(experiment):
    """Rows of the table."""
    program = full_size(experiment, OVERRIDES.value)
    state, run = program.new_state(runs.silent), program.run
    rows = run.rows(run.data["train"], 0)
    with run.context():
        traced = program.trace_train_step(rows)
        compiled = traced.lower().compile()

    def step():
        nonlocal state
        began = time.perf_counter()
        state, metrics = compiled(state, rows, run.keys)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - began

    step()
    plain = statistics.median(step() for _ in range(STEPS))
    rate = cost.measured_rate("float32")
    known, (took, seconds) = kernels(compiled.as_text()), profile(step)
    parts = collections.Counter()
    for name in known.keys() & seconds.keys():
        product, words = known[name]
        if not product and not words.startswith(("while", "call", "conditional")):
            parts[next((part for part, pattern in PARTS if re.search(pattern, words)), "other")] += seconds[name]
    parts["matrix products"] = took - sum(parts.values())
    least = f"products at {rate / 1e9:.0f} GFLOP/s: {cost.count_flops(traced.jaxpr) / rate:.2f} s"
    yield tables.row(experiment, "a step", f"{plain:.2f} s", least)
    for part, spent in parts.most_common():
        yield tables.row("", part, f"{spent:.2f} s", f"{spent / took:.0%}")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1])[: MOST.value]:
        if name in known:
            yield tables.row("", f"`{known[name][1]}`", f"{spent:.3f} s", "")


def main(argv):
    """Profiles one experiment after the other."""
    del argv
    print(tables.heading())
    print(tables.head("config", "part", "time", "share of the profiled step"))
    for experiment in ONLY.value or EXPERIMENTS:
        for line in lines_of(experiment):
            print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
