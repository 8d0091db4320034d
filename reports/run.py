"""The report of a run, from its directory."""

import json
import math
import os
import pathlib
from html import escape
from typing import Any

from cloze import storage
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.parallel.cost import human
from cloze.reports.chart import Curve, chart
from cloze.reports.page import Cell, details, facts, page, section, table
from cloze.tasks.progress import clock
from cloze.training import goodput, history
from cloze.training.workdir import differences

FILE = "report.html"  # in the directory of a run or a sweep
SAMPLES = "samples.jsonl"  # in a run's directory, if generate.py --output has kept some there
MOST_SAMPLES = 20
NONE = "–"  # for what is not known


def write(workdir: str | os.PathLike) -> pathlib.Path:
    """Writes the report of a run into its directory, and returns its path. The run may be going on.

    Raises:
        ConfigError: there is no run.
    """
    path = pathlib.Path(workdir)
    found = history.read(path)
    if not found.config:
        raise ConfigError(f"{path} holds no run: config.json is missing or damaged; train one there with train.py")
    with storage.whole(path / FILE) as partial:
        partial.write_text(text(path.absolute().name, found, samples(path / SAMPLES)), encoding="utf-8")
    return path / FILE


def text(title: str, found: history.History, kept: list[dict[str, Any]]) -> str:
    """The report as HTML.

    Args:
        title: the name of the run.
        found: what its directory says.
        kept: prompts and what the model made of them, as generate.py writes them.
    """
    train, validation = (found.lines.get(split, []) for split in ("train", "validation"))
    return page(
        title,
        [
            f"<p>{escape(_status(found))}</p>",
            facts(_first(found)),
            section("Curves", '<div class="charts">', *_charts(train, validation), "</div>") if train else "",
            section("Last metrics", _metrics(found)),
            section("Configuration", _configuration(found)),
            section("Data", f"<p>{escape(found.facts['data'])}</p>" if "data" in found.facts else ""),
            section("Cost", table(["", "in all", ""], _costs(found))),
            section("Samples", *map(_sample, kept)),
        ],
    )


def _status(found):
    last, model = found.facts.get("steps"), found.config["model"]
    where = f"on {found.facts['devices']}, jax {found.facts['jax']}" if "devices" in found.facts else ""
    state = f"At step {max(found.step, 0):,}" + (f" of {last:,}" if last else "")
    state = "Finished" if found.finished else state
    name = f"{model['family']}/{model['preset']}"
    return f"{state}. {name}, trained with {found.config['objective']['name']} {where}".strip() + "."


def _first(found):
    """What stands at the top."""
    shown = {}
    for split, words in (("validation", "validation loss"), ("train", "training loss")):
        if (loss := found.last(split).get("loss")) is not None:
            shown[words] = f"{loss:.4f}"
    lines = found.lines.get("train", [])
    shown["steps"] = f"{lines[-1]['step']:,}" if lines else "0"
    if "parameters" in found.facts:
        shown["parameters"] = human(found.facts["parameters"])
    shown["time"] = clock(round(found.seconds))
    shown["FLOPs"] = human(found.flops) if found.flops else NONE
    shown["goodput"] = f"{100 * found.goodput:.0f}%" if math.isfinite(found.goodput) else NONE
    return shown


def points(lines: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of a metric."""
    return [(line["step"], line[name]) for line in lines if line.get(name) is not None]


def _charts(train, validation):
    yield chart(
        "Loss",
        [
            Curve("training", points(train, "loss"), 0, strong=False),
            Curve("validation", points(validation, "loss"), 1),
        ],
        "nats",
    )
    accuracies = sorted({name for line in validation for name in line if "accuracy" in name})
    yield chart("Validation accuracy", [Curve(name, points(validation, name), n) for n, name in enumerate(accuracies)])
    yield chart("Learning rate", [Curve("learning rate", points(train, "learning_rate"))])
    yield chart("Gradient norm", [Curve("gradient norm", points(train, "grad_norm"), 2, False)], logarithmic=True)
    yield chart("Throughput", [Curve("tokens", points(train, "tokens_per_second"), 5, False)], "tokens/s")


def _metrics(found):
    splits = {split: found.last(split) for split in ("train", "validation")}
    names = sorted(set().union(*splits.values()))
    rows = [[name, *(_number(values.get(name)) for values in splits.values())] for name in names]
    return table(["metric", "training", "validation"], rows)


def _number(value):
    if value is None:
        return Cell("")
    return Cell("not finite") if not math.isfinite(value) else Cell(f"{value:.4g}", value)


def _configuration(found):
    """What the command line changes in the config file, and what both change in Cloze's defaults."""
    changed = [[key, repr(before), repr(now)] for key, before, now in found.facts.get("changed", [])]
    source = found.facts.get("source", "")
    head = f"<p>Config file: <code>{escape(source)}</code>{'' if changed else ', unchanged'}.</p>" if source else ""
    return (
        head
        + table(["option", "there", "this run"], changed)
        + details("Everything that differs from Cloze's defaults", table(["option", "default", "value"], _all(found)))
    )


def _all(found):
    try:
        config = base.from_dict(found.config, "config.json")
    except ConfigError:  # of another version of Cloze
        return []
    defaults, values = base.to_dict(base.like(config)), base.to_dict(config)
    return [[key, repr(before), repr(now)] for key, before, now in differences(defaults, values)]


def _costs(found):
    account = (found.lines.get(goodput.SPLIT) or [{}])[-1]
    total = max(found.seconds, 1e-9)
    rows = [
        [words, Cell(clock(round(account[kind])), account[kind]), Cell(f"{100 * account[kind] / total:.0f}%", 0)]
        for kind, words in goodput.KINDS.items()
        if account.get(kind, 0) >= 0.5
    ]
    if account:
        rows.append([f"all, in {account['starts']} start{'s' if account['starts'] > 1 else ''}",
                     Cell(clock(round(total)), total), Cell("100%", 0)])  # fmt: skip
    if found.flops:
        rows.append(["operations of all steps", Cell(f"{human(found.flops)}FLOP", found.flops), ""])
    if "parameters" in found.facts:
        trains = found.facts["trainable"]
        rows.append(["parameters", Cell(f"{found.facts['parameters']:,}", 0), f"{trains:,} of them train"])
    return rows


def samples(path: pathlib.Path) -> list[dict[str, Any]]:
    """The first lines that generate.py --output has kept; those that cannot be read are left out."""
    found = []
    for line in path.read_text(errors="replace").splitlines()[:MOST_SAMPLES] if path.is_file() else []:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("prompt"), str):
            found.append(value)
    return found


def _sample(kept):
    """A prompt and what was written behind it, or the text with its blanks filled and the candidates for each."""
    answer = escape(str(kept.get("text", "")))
    lines = [
        f"blank {number}: " + ", ".join(f"{piece} {100 * share:.1f}%" for piece, share in candidates)
        for number, candidates in enumerate(kept.get("blanks", []), 1)
    ]
    told = f'<p class="quiet">{"<br>".join(map(escape, lines))}</p>' if lines else ""
    return f"<p><code>{escape(kept['prompt'])}</code></p><blockquote>{answer}</blockquote>{told}"
