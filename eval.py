"""Scores a run on tasks, beside what knows nothing of the input.

    python eval.py --workdir=runs/classify-tiny-task=package --task=package --split=test
    python eval.py --workdir=runs/t5 --task=rte,cola --files=GLUE --output=scores.json --predictions=predictions/
    python eval.py --workdir=runs/gpt2 --task=sst2 --num_shots=4 --limit=200
    python eval.py --workdir=runs/gpt2 --task=wikitext2 --files=wikitext-2 --split=test

A model that was finetuned with a head answers with it; one that writes answers with text, of which the most probable
label counts where it was never finetuned; of plain text the perplexity is given. --output holds {task: {metric:
value}}, baselines as "majority/accuracy". Exit codes: 0 done, 2 bad usage, 3 bad or missing data, 5 checkpoint corrupt.
"""

import json
import math
import pathlib

from absl import flags

from cloze import cli

REQUIRED = ("workdir", "task")  # flags

WORKDIR = flags.DEFINE_string("workdir", "", "Directory of a run.")
TASK = flags.DEFINE_list("task", [], "Names of tasks; several are separated by commas.")
SPLIT = flags.DEFINE_enum("split", "validation", ["train", "validation", "test"], "Which examples are scored.")
FILES = flags.DEFINE_string(
    "files", "", "Folder of the task's files, of several tasks with a folder for each; default: the run's, or tfds."
)
LIMIT = flags.DEFINE_integer("limit", 0, "Examples that are scored, from the first; 0: all.", lower_bound=0)
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 64, "Tokens that a written answer may have.", lower_bound=1)
NUM_SHOTS = flags.DEFINE_integer(
    "num_shots",
    0,
    "Training examples, the first ones, shown with their answers in front of each prompt.",
    lower_bound=0,
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows that are run at once.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores.")
STEP = flags.DEFINE_string(
    "step", "newest", "Which checkpoint: newest, best (by the run's checkpoint.best), or the number of a step."
)
EMA = flags.DEFINE_bool("ema", False, "Take the moving averages of the parameters that trained (train.ema_decay).")
PREDICTIONS = flags.DEFINE_string("predictions", "", "Folder for TASK.jsonl with every prediction.")


def main():
    """Loads the run, scores it on every task, prints a table, writes what is asked for."""
    from cloze import tasks
    from cloze.training import evaluation, restore, runs

    cli.start_jax(runs.load_config(WORKDIR.value).train.compile_cache)
    names, found = tasks.expand(",".join(TASK.value)), {}
    trained = restore.load(WORKDIR.value, ema=EMA.value, which=STEP.value)
    for name in names:
        files = FILES.value
        if files and len(names) > 1:
            files = "" if name in tasks.TASKS else str(pathlib.Path(files) / name)
        result = evaluation.evaluate(
            trained, name, split=SPLIT.value, files=files, limit=LIMIT.value, max_tokens=MAX_TOKENS.value,
            num_shots=NUM_SHOTS.value, batch_size=BATCH_SIZE.value, report=print,
        )  # fmt: skip
        found[name] = scores_of(result)
        print_table(name, result)
        if PREDICTIONS.value:
            write_predictions(pathlib.Path(PREDICTIONS.value) / f"{name.replace(':', '-')}.jsonl", result)
    if OUTPUT.value:
        path = pathlib.Path(OUTPUT.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"Scores: {path}")


def scores_of(result):
    """{metric: number or None}, baselines behind their names."""
    from cloze.training.evaluation import finite

    found = {metric: finite(value) for metric, value in (result.scores or {}).items()}
    for name, scores in result.baselines.items():
        found |= {f"{name}/{metric}": finite(value) for metric, value in scores.items()}
    return found


def print_table(name, result):
    """The scores of a task, the model's first."""
    print(f"\n{name}, {SPLIT.value}, {len(result.examples):,} examples")
    if not result.scores:
        return
    rows = {"model": result.scores, **result.baselines}
    widths = {metric: max(12, len(metric)) for metric in result.scores}
    first = max(map(len, (*rows, name)))
    print(f"  {'':<{first}}  " + "  ".join(f"{metric:>{width}}" for metric, width in widths.items()))
    for row, scores in rows.items():
        print(
            f"  {row:<{first}}  " + "  ".join(f"{shown(scores[metric]):>{width}}" for metric, width in widths.items())
        )


def shown(value):
    """A score as it is printed; correlations are not defined where all predictions are the same."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def write_predictions(path, result):
    """A line for each example: its number, its id if it has one, and the prediction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = result.task.labels()
    with path.open("w") as file:
        for number, (example, prediction) in enumerate(zip(result.examples, result.predictions, strict=True)):
            line = {"number": number} | ({"id": example["id"]} if "id" in example else {})
            if result.task.kind == "lm":
                prediction = {"nats": prediction.nats, "last_word": prediction.last_word}
            line["prediction"] = prediction
            if result.task.kind == "class" and prediction is not None:
                line["label"] = names[prediction]
            file.write(json.dumps(line) + "\n")
    print(f"Predictions: {path}")


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
