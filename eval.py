"""Scores runs on tasks, beside what knows nothing of the input.

    python eval.py --workdir=runs/classify-tiny-task=package --task=package --split=test
    python eval.py --workdir=runs/t5 --task=rte,cola --files=GLUE --output=scores.json --predictions=predictions/
    python eval.py --workdir=runs/gpt2 --task=wikitext2 --files=wikitext-2 --split=test
    python eval.py --workdir=runs/bert,runs/gpt2 --task=blimp --files=blimp/data --compare
    python eval.py --workdir=runs/bert --task=probes
    python eval.py --workdir=runs/bert --task=stsb --files=STS-B --pooling=mean
    python eval.py --workdir=runs/gpt2 --task=sst2 --num_shots=0,1,4,8 --shot_draws=3
    python eval.py --workdir=runs/gpt2 --lm_eval=lambada_openai
    python eval.py --workdir=runs/bert15,runs/bert40 --validate_as=objective.mask_rate=0.15

A model that was finetuned with a head answers with it; one that writes answers with text, of which the most probable
label counts where it was never finetuned; of plain text the perplexity is given. docs/evaluation.md says what each
score is. --output holds {task: {metric: value}}, of several runs {run: {task: ...}}; baselines are "majority/accuracy",
standard errors "accuracy_stderr". Exit codes: 0 done, 2 bad usage, 3 bad or missing data, 5 checkpoint corrupt.
"""

import functools
import json
import pathlib

from absl import flags

from cloze import cli

REQUIRED = ("workdir",)  # flags

WORKDIR = flags.DEFINE_list("workdir", [], "Directory of a run; several are separated by commas and scored alike.")
TASK = flags.DEFINE_list("task", [], "Names of tasks; several are separated by commas.")
LM_EVAL = flags.DEFINE_list("lm_eval", [], "Tasks of lm-evaluation-harness; --files has YAML files of further ones.")
SPLIT = flags.DEFINE_enum("split", "validation", ["train", "validation", "test"], "Which examples are scored.")
VALIDATE_AS = flags.DEFINE_list(
    "validate_as", [], "Also validate with these options in place of the run's: objective.mask_rate=0.15, ..."
)
FILES = flags.DEFINE_string(
    "files", "", "Folder of the task's files, of several tasks with a folder for each; default: the run's, or tfds."
)
LIMIT = flags.DEFINE_integer("limit", 0, "Examples that are scored, from the first; 0: all.", lower_bound=0)
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 64, "Tokens that a written answer may have.", lower_bound=1)
NUM_SHOTS = flags.DEFINE_list(
    "num_shots", ["0"], "Training examples shown with their answers in front of each prompt; several: 0,1,4,8."
)
SHOT_DRAWS = flags.DEFINE_integer(
    "shot_draws", 0, "How often other examples are drawn to be shown; 0: the first ones are.", lower_bound=0
)
SHOT_LABELS = flags.DEFINE_enum(
    "shot_labels", "gold", ["gold", "random", "permuted"], "The answers that are shown: docs/evaluation.md."
)
LABEL_SCORING = flags.DEFINE_enum(
    "label_scoring",
    "auto",
    ["auto", "answer", "token", "character", "calibrated"],
    "How labels are compared by a model that was never finetuned: docs/evaluation.md.",
)
SCORING = flags.DEFINE_enum(
    "scoring", "auto", ["auto", "causal", "pll", "pll_original"], "How probable a text is: see docs/evaluation.md."
)
BOOTSTRAP = flags.DEFINE_integer(
    "bootstrap", 200, "Resamples for the standard errors of what is no mean over examples; 0: none.", lower_bound=0
)
COMPARE = flags.DEFINE_bool("compare", False, "Of two runs: McNemar's test of whether they differ on each task.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows that are run at once.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores.")
STEP = flags.DEFINE_string(
    "step", "newest", "Which checkpoint: newest, best (by the run's checkpoint.best), or the number of a step."
)
EMA = flags.DEFINE_bool("ema", False, "Take the moving averages of the parameters that trained (train.ema_decay).")
POOLING = flags.DEFINE_enum(
    "pooling",
    "",
    ["", "first", "last", "mean", "max"],
    "Compare texts by their vectors, and which state of a text is its vector; default: the run's own, or mean.",
)
PREDICTIONS = flags.DEFINE_string("predictions", "", "Folder for TASK.jsonl with every prediction.")
cli.define_process_flags()


def main():
    """Loads every run, scores it on every task, prints tables, writes what is asked for."""
    from cloze import tasks
    from cloze.parallel import mesh as meshes
    from cloze.parallel.processes import decide
    from cloze.tasks import tables
    from cloze.training import restore, runs

    check_flags()
    names = tasks.expand(",".join(TASK.value)) if TASK.value else ()
    configs = [runs.load_config(workdir) for workdir in WORKDIR.value]  # all of them, before the first is scored
    cli.start_jax(configs[0].train.compile_cache)
    results, harness, validated = {}, {}, {}
    for workdir, config in zip(WORKDIR.value, configs, strict=True):
        if len(WORKDIR.value) > 1:
            print(f"\n{workdir}")
        mesh = meshes.mesh_for_reading(config.mesh, print)
        trained = restore.load(workdir, ema=EMA.value, which=STEP.value, mesh=mesh)
        if LM_EVAL.value:
            harness[workdir] = score_by_harness(trained)
        results[workdir] = {name: score(trained, name, len(names) > 1) for name in names}
        if VALIDATE_AS.value:
            validated[workdir] = validate(workdir)
        for name, result in results[workdir].items():
            if len(WORKDIR.value) == 1:
                print_table(name, {workdir: result})
            if PREDICTIONS.value:
                folder = pathlib.Path(PREDICTIONS.value) / ("" if len(WORKDIR.value) == 1 else _safe(workdir))
                path = folder / f"{_safe(name)}.jsonl"
                decide(functools.partial(write_predictions, path, result))
    if len(WORKDIR.value) > 1:
        for name in names:
            print_table(name, {workdir: results[workdir][name] for workdir in WORKDIR.value})
    for name in dict.fromkeys(name for found in harness.values() for name in found):
        print_harness(name, {workdir: found[name] for workdir, found in harness.items()})
    if validated:
        print("\n".join(["\nvalidation", *tables.scores(validated)]))
    if COMPARE.value:
        for name in names:
            compare(name, *(results[workdir][name] for workdir in WORKDIR.value))
    if OUTPUT.value:
        found = {run: {name: scores_of(result) for name, result in some.items()} for run, some in results.items()}
        for run, scores in validated.items():
            found[run]["validate_as"] = scores
        for run, scores in harness.items():
            found[run] |= {f"lm_eval/{name}": some for name, some in scores.items()}
        decide(lambda: write_scores(found if len(found) > 1 else found[WORKDIR.value[0]]))


def check_flags():
    """Refuses what does not go together, before anything is read."""
    from cloze.errors import ConfigError

    if not (TASK.value or LM_EVAL.value or VALIDATE_AS.value):
        raise ConfigError("--task, --lm_eval or --validate_as is required (see --help)")
    if LM_EVAL.value and (len(shot_counts()) > 1 or SHOT_DRAWS.value or SHOT_LABELS.value != "gold"):
        raise ConfigError(
            "--lm_eval shows the examples that its tasks choose: give one --num_shots and nothing of draws"
        )
    twice = sorted({run for run in WORKDIR.value if WORKDIR.value.count(run) > 1})
    if twice:
        raise ConfigError(f"--workdir names {', '.join(twice)} twice: name each run once")
    if max(shot_counts()) == 0 and (SHOT_DRAWS.value or SHOT_LABELS.value != "gold"):
        raise ConfigError("--shot_draws and --shot_labels are of examples that are shown: set --num_shots=4")
    if COMPARE.value and (len(shot_counts()) > 1 or SHOT_DRAWS.value > 1):
        raise ConfigError("--compare tests one answer of each run to each example: give one --num_shots, and no draws")
    if COMPARE.value and len(WORKDIR.value) != 2:
        raise ConfigError(f"--compare tests two runs against each other: --workdir names {len(WORKDIR.value)}")


def validate(workdir):
    """{metric: number or None} of the run's validation split, with the options of --validate_as."""
    from cloze.training import evaluation, held_out

    found = held_out.validate(workdir, held_out.parse(VALIDATE_AS.value), STEP.value)
    return {metric: evaluation.finite(value) for metric, value in found.items()}


def score_by_harness(trained):
    """{task of lm-eval: {metric: value}}."""
    from cloze.training import harness

    return harness.evaluate(
        trained, LM_EVAL.value, include=FILES.value, limit=LIMIT.value, batch_size=BATCH_SIZE.value,
        num_shots=shot_counts()[0] if NUM_SHOTS.present else None,
    )  # fmt: skip


def print_harness(name, results):
    """The scores of a task of lm-eval, of every run."""
    from cloze.tasks import tables

    rows = {
        run: {metric: value for metric, value in scores.items() if "_stderr" not in metric}
        for run, scores in results.items()
    }
    errors = {
        run: {metric.replace("_stderr", ""): value for metric, value in scores.items() if "_stderr" in metric}
        for run, scores in results.items()
    }
    print("\n".join([f"\n{name}, lm-evaluation-harness", *tables.scores(rows, errors)]))


def shot_counts():
    """[int] of --num_shots."""
    from cloze.errors import ConfigError

    if not NUM_SHOTS.value or not all(count.strip().isdecimal() for count in NUM_SHOTS.value):
        raise ConfigError(f"--num_shots={','.join(NUM_SHOTS.value)}: write numbers from 0 on, such as 0,1,4,8")
    return list(dict.fromkeys(int(count) for count in NUM_SHOTS.value))


def score(trained, name, several):
    """The Evaluation of one run on one task; where examples are drawn to be shown, one of several (training.curves)."""
    from cloze import tasks
    from cloze.tasks.shots import InContext
    from cloze.training import curves, evaluation

    files = FILES.value
    if files and several:
        files = "" if name in tasks.TASKS else str(pathlib.Path(files) / name)

    def evaluate(count, draw):
        return evaluation.evaluate(
            trained, name, split=SPLIT.value, files=files, limit=LIMIT.value, max_tokens=MAX_TOKENS.value,
            num_shots=count, batch_size=BATCH_SIZE.value, scoring=SCORING.value, resamples=BOOTSTRAP.value,
            pooling=POOLING.value,
            in_context=InContext(draw, SHOT_LABELS.value, LABEL_SCORING.value), report=print,
        )  # fmt: skip

    return curves.curve(evaluate, shot_counts(), SHOT_DRAWS.value)


def scores_of(result):
    """{metric: number or None}, standard errors behind their metrics, baselines and paradigms behind their names."""
    from cloze.training.evaluation import finite

    def flat(scores, errors, front=""):
        values = {f"{front}{metric}": finite(value) for metric, value in scores.items()}
        return values | {f"{front}{metric}_stderr": finite(value) for metric, value in errors.items()}

    found = flat(result.scores or {}, result.errors)
    for name, scores in result.baselines.items():
        found |= flat(scores, {}, f"{name}/")
    for name, (_, scores, errors) in result.paradigms.items():
        found |= flat(scores, errors, f"{name}/")
    for shots, (scores, spreads) in result.shots.items():
        found |= flat(scores, {}, f"{shots}/")
        found |= {f"{shots}/{metric}_spread": finite(value) for metric, value in spreads.items()}
    return found


def print_table(name, results):
    """The scores of a task: of every run, then of what knows nothing of the input; then for each paradigm."""
    from cloze.tasks import tables

    first, alone = next(iter(results.values())), len(results) == 1
    if alone and name == "probes":
        print("\n".join(tables.rankings(first.examples, first.predictions)))
    print(f"\n{name}, {SPLIT.value}, {len(first.examples):,} examples")
    if not first.scores:
        return
    rows = {"model" if alone else run: result for run, result in results.items()}
    scores, errors = {}, {}
    for run, result in rows.items():
        for shots, (means, spreads) in result.shots.items():
            scores[f"{run}, {shots}"], errors[f"{run}, {shots}"] = means, spreads
        if not result.shots:
            scores[run], errors[run] = result.scores or {}, result.errors
    if first.shots:
        print("means over draws of the examples that are shown ± standard deviation")
    print("\n".join(tables.scores(scores | first.baselines, errors)))
    metric = next(iter(first.scores))
    if first.paradigms and name != "probes":
        by_paradigm = {
            paradigm: {run: result.paradigms[paradigm][1][metric] for run, result in rows.items()}
            for paradigm in first.paradigms
            if all(paradigm in result.paradigms for result in rows.values())
        }
        errors = {
            paradigm: {run: result.paradigms[paradigm][2].get(metric) for run, result in rows.items()}
            for paradigm in by_paradigm
        }
        if by_paradigm:
            print("\n".join([f"\n{metric} of each paradigm", *tables.scores(by_paradigm, errors)]))


def compare(name, first, second):
    """Prints McNemar's test of two runs on a task."""
    from cloze.tasks import uncertainty

    judged = [uncertainty.right(result.task, result.predictions, result.examples) for result in (first, second)]
    if first.scores is None or judged[0] is None:
        print(f"{name}: its predictions are neither right nor wrong, so that McNemar's test does not apply")
        return
    numbers = [{example.get("id", n): n for n, example in enumerate(some.examples)} for some in (first, second)]
    common = [key for key in numbers[0] if key in numbers[1]]  # each may have left out some
    rights = [some[[of[key] for key in common]] for some, of in zip(judged, numbers, strict=True)]
    only_first, only_second, p = uncertainty.mcnemar(*rights)
    print(
        f"\n{name}: of {len(common):,} examples {WORKDIR.value[0]} alone has {only_first:,} right, {WORKDIR.value[1]} "
        f"alone {only_second:,}; McNemar's exact test: p = {p:.2g}"
    )


def write_scores(found):
    """Writes --output."""
    path = pathlib.Path(OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"Scores: {path}")


def write_predictions(path, result):
    """A line for each example: its number, its id if it has one, and the prediction."""
    from cloze.tasks import tables

    path.parent.mkdir(parents=True, exist_ok=True)
    names = result.task.labels()
    with path.open("w") as file:
        for number, (example, prediction) in enumerate(zip(result.examples, result.predictions, strict=True)):
            line = {"number": number} | ({"id": example["id"]} if "id" in example else {})
            line["prediction"] = tables.plain(prediction)
            if result.task.kind == "class" and prediction is not None:
                line["label"] = names[prediction]
            file.write(json.dumps(line) + "\n")
    print(f"Predictions: {path}")


def _safe(name):
    return name.strip("/").replace("/", "-").replace(":", "-")


if __name__ == "__main__":
    cli.run(main, __doc__, required=REQUIRED)
