"""Does pretraining pay? A small BERT, GPT and T5, finetuned with few labels, against the same models from scratch.

    python -m benchmarks.pretraining_pays [--directory=/tmp/cloze_pays] [--quick]

Each family is pretrained on the embedded corpus without the texts that tasks are judged by, then finetuned on the task
`package` (which of ten packages is a docstring from) with 100, 1,000 and 4,000 labels and three seeds, which draw the
labels, the new parameters and the order. BERT and GPT get a head, T5 writes the name. Then every strategy is tried on
BERT with 1,000 labels. What is printed is the accuracy on the test split, mean and standard deviation over seeds, and
both tables in Markdown; results.json in the directory has every run. A run that is there already is not repeated.
"""

import json
import pathlib
import statistics
import time

from absl import app, flags, logging

from benchmarks import runs
from cloze import cli
from cloze.configs import base, bert_base, gpt2, t5
from cloze.configs.finetune import classify, text_to_text
from cloze.training import evaluation, restore

DIRECTORY = flags.DEFINE_string("directory", "/tmp/cloze_pays", "Where the runs go.")
QUICK = flags.DEFINE_bool("quick", False, "A tenth of all steps and one seed: does it run?")
FAMILIES = {"BERT": (bert_base, classify), "GPT": (gpt2, classify), "T5": (t5, text_to_text)}
PRETRAINING = {"BERT": 2600, "GPT": 2000, "T5": 2000}  # steps of 16 rows of 64 tokens
STEPS = {100: 60, 1000: 120, 4000: 240}  # of 16 examples
SEEDS = (0, 1, 2)
STRATEGIES = ("full", "linear_probe", "lp_ft", "gradual", "lora", "adapters", "prompt")
COMPARED_AT = 1000  # labels
# Beyond configs/finetuning.py, for small models and few steps.
RATES = {"T5": {"full": 1e-3}}
HELD_OUT = 0.1  # of the corpus: what validation and test splits of embedded tasks are made of


def pretrain(family, directory):
    """Trains a family's model, if that is not done; returns its directory."""
    workdir = directory / family
    if (workdir / "done").exists():
        return workdir
    module, _ = FAMILIES[family]
    c = module.get_config("tiny")
    steps = _scaled(PRETRAINING[family])
    c.data.update(sequence_length=64, validation_share=HELD_OUT)
    c.train.update(steps=steps, eval_every=steps, log_every=50)
    c.optimizer.update(decay_steps=steps, warmup_steps=_scaled(100 if family != "BERT" else 200))
    c.checkpoint.every = steps
    began = time.perf_counter()
    found = runs.train(c, workdir)
    found["wall"] = time.perf_counter() - began
    (workdir / "done").write_text(json.dumps(found))
    print(
        f"pretrained {family}: {found['parameters']:,} parameters, {steps} steps in {found['wall']:.0f} s", flush=True
    )
    return workdir


def finetune(family, base_run, labels, seed, method, pretrained):
    """One run; returns what `runs.train` does, with the test accuracy."""
    _, module = FAMILIES[family]
    c = module.get_config(f"tiny,task=package,method={method},limit={labels}")
    steps = _scaled(STEPS[labels])
    c.seed = seed
    c.data.update(sequence_length=64)
    if family == "T5":
        c.data.target_length = 8
    c.train.update(batch_size=16, steps=steps, eval_every=steps, log_every=max(steps // 4, 1))
    c.optimizer.update(decay_steps=steps, warmup_steps=steps // 10)
    c.optimizer.learning_rate = RATES.get(family, {}).get(method, c.optimizer.learning_rate)
    c.checkpoint.every = steps
    c.init.update(checkpoint=str(base_run), parameters=pretrained)
    if "probe_steps" in c.finetune:
        c.finetune.probe_steps = max(steps // 3, 1)
        c.train.steps = c.optimizer.decay_steps = steps - c.finetune.probe_steps
    if "unfreeze_every" in c.finetune:
        c.finetune.unfreeze_every = max(steps // 6, 1)
    workdir = base_run.parent / f"{family}-{labels}-{seed}-{method}-{'pretrained' if pretrained else 'scratch'}"
    began = time.perf_counter()
    found = runs.train(c, workdir)
    trained = restore.load(workdir, report=runs.silent)
    result = evaluation.evaluate(trained, "package", split="test", max_tokens=6, batch_size=64, report=runs.silent)
    found |= {"accuracy": result.scores["accuracy"], "majority": result.baselines["majority"]["accuracy"]}
    return found | {"wall": time.perf_counter() - began}


def _scaled(steps):
    return max(steps // 10, 12) if QUICK.value else steps


class Results:
    """Every run by its name, kept in a file."""

    def __init__(self, path):
        self._path = path
        self.found = json.loads(path.read_text()) if path.exists() else {}

    def of(self, family, base_run, labels, seed, method="full", pretrained=True):
        """What a run gave, after making it if need be."""
        name = f"{family} {labels} {seed} {method} {'pretrained' if pretrained else 'scratch'}"
        if name not in self.found:
            self.found[name] = finetune(family, base_run, labels, seed, method, pretrained)
            self._path.write_text(json.dumps(self.found, indent=1))
            print(f"{name}: accuracy {self.found[name]['accuracy']:.3f}, {self.found[name]['wall']:.0f} s", flush=True)
        return self.found[name]


def shown(values):
    """Mean and standard deviation in percent."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * spread:.1f}"


def main(argv):
    """Everything, then the tables."""
    del argv
    logging.set_verbosity(logging.WARNING)
    cli.start_jax(base.get_base().train.compile_cache)
    began = time.perf_counter()
    directory = pathlib.Path(DIRECTORY.value)
    directory.mkdir(parents=True, exist_ok=True)
    results, seeds = Results(directory / "results.json"), SEEDS[:1] if QUICK.value else SEEDS
    print(runs.machine(), flush=True)
    bases = {family: pretrain(family, directory) for family in FAMILIES}
    lines = ["| model | labels | from scratch | pretrained |", "|---|---|---|---|"]
    for family, base_run in bases.items():
        for labels in STEPS:
            scratch, pretrained = (
                [results.of(family, base_run, labels, seed, pretrained=kind)["accuracy"] for seed in seeds]
                for kind in (False, True)
            )
            lines.append(f"| {family} | {labels:,} | {shown(scratch)} | {shown(pretrained)} |")
    lines += [
        "",
        "| strategy | accuracy | trainable | of all | optimizer MiB | ms a step |",
        "|---|---|---|---|---|---|",
    ]
    for method in STRATEGIES:
        found = [results.of("BERT", bases["BERT"], COMPARED_AT, seed, method) for seed in seeds]
        one, share = found[0], found[0]["trainable"] / found[0]["parameters"]
        step = statistics.median(run["step_ms"] for run in found)
        lines.append(
            f"| {method} | {shown([run['accuracy'] for run in found])} | {one['trainable']:,} | {100 * share:.2f}% "
            f"| {one['optimizer_bytes'] / 2**20:.2f} | {step:.1f} |"
        )
    majority = next(iter(results.found.values()))["majority"]
    print(f"\nmajority class: {100 * majority:.1f}\n", *lines, sep="\n")
    print(f"\n{(time.perf_counter() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    app.run(main)
