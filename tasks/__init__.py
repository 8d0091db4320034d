"""What models are judged by: labelled examples, by name."""

import os

from cloze.errors import ConfigError
from cloze.options import suggest
from cloze.tasks import embedded, probes, user_files
from cloze.tasks.base import PROBES, Task
from cloze.tasks.benchmarks import Benchmark
from cloze.tasks.benchmarks_classes import CHOICES, GLUE, INFERENCE, RELATIONS, SUPER_GLUE
from cloze.tasks.benchmarks_texts import LANGUAGE, SPANS, TAGS, TEXTS
from cloze.tasks.cloze import CLOZE
from cloze.tasks.label_order import Ordered, places
from cloze.tasks.minimal_pairs import PAIRS
from cloze.tasks.text_formats import AsText
from cloze.tasks.vectors import AsPairs, compared

__all__ = [
    "BENCHMARKS", "MIXTURES", "TASKS", "AsPairs", "AsText", "Ordered", "Task", "compared", "expand", "get", "places",
    "read_by",
]  # fmt: skip

TASKS = {task.name: task for task in (*embedded.TASKS, probes.PROBES)}
BENCHMARKS = {
    spec.name: spec
    for specs in (GLUE, SUPER_GLUE, INFERENCE, RELATIONS, CHOICES, SPANS, TAGS, TEXTS, LANGUAGE, CLOZE, PAIRS)
    for spec in specs
}
MIXTURES = {  # WNLI is left out, as in the papers; MNLI comes once
    "glue": tuple(spec.name for spec in GLUE if spec.name not in ("wnli", "mnli_mismatched")),
    "super_glue": tuple(spec.name for spec in SUPER_GLUE),
}


def read_by(config, rows):
    """The Tasks that `rows` (data.rows.Rows) are examples of, by config.task; () where they are text.

    Several are read as text, each from the folder of its name in task.files. What is read as text is an AsText, but for
    a single task of texts without task.instructions. Pairs that are read for vectors are AsPairs. What has its labels
    in the order of a head is an Ordered.

    Raises:
        ConfigError: an unknown name, or a task that cannot be read as task.kind says.
    """
    if rows.kind != "examples":
        return ()
    c, names = config.task, expand(config.task.name)
    several = len(names) > 1
    if several and c.kind not in ("", "text"):
        raise ConfigError(f"task.name={c.name!r} mixes tasks, which only text to text can: set task.kind=text")
    tasks = []
    for name in names:
        files = os.path.join(c.files, name) if c.files and several and name not in TASKS else c.files
        task = get(name, "" if several and name in TASKS else files, config.data.tfds_dir)
        if task.kind in PROBES:
            raise ConfigError(
                f"task {name} judges models as they were pretrained, and nothing is finetuned on it: score a run with "
                f"eval.py --task={name}"
            )
        if several or (c.kind == "text" and (task.kind != "text" or c.instructions)):
            task = AsText(task)
        elif c.kind == "embedding" and task.kind != "embedding":
            task = AsPairs(task)
        elif c.kind and c.kind != task.kind:
            raise ConfigError(
                f"task {name} is of kind {task.kind} and cannot be read as task.kind={c.kind}: leave task.kind empty"
                + ("" if task.kind in ("tag", "lm") else ", or write text")
            )
        tasks.append(task)
    if len(tasks) == 1 and tasks[0].kind in ("class", "tag") and c.labels:
        columns = places(tasks[0].labels(), c.labels)
        if columns is not None and columns != sorted(columns):
            tasks = [Ordered(tasks[0], columns)]
    return tuple(tasks)


def expand(names):
    """The names in task.name, with those of mixtures ("glue", "super_glue") in their place.

    Raises:
        ConfigError: no name, or one twice.
    """
    single = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        single += MIXTURES.get(name, (name,))
    if not single:
        raise ConfigError(f"this objective reads labelled examples: set task.name to one of {', '.join(_names())}")
    twice = sorted({name for name in single if single.count(name) > 1})
    if twice:
        raise ConfigError(f"task.name={names!r} names {', '.join(twice)} twice: name each task once")
    return tuple(single)


def get(name, files="", tfds_dir=""):
    """The Task of a name.

    Args:
        name: of an embedded task, of a public benchmark, or FORMAT:KIND of a user's own files (tasks/user_files.py).
        files: folder with the task's files; empty: tensorflow-datasets.
        tfds_dir: where prepared tensorflow-datasets live; empty for the library's own default.

    Raises:
        ConfigError: there is none, or the files are of no use to it.
    """
    if name in TASKS:
        if files:
            raise ConfigError(f"task {name} comes with Cloze and reads no files: leave task.files empty")
        return TASKS[name]
    spec = BENCHMARKS.get(name) or user_files.spec(name)
    if spec is None:
        names = _names()
        raise ConfigError(f"unknown task.name={name!r}{suggest(name, names) or '.'} Known tasks: {', '.join(names)}")
    if not files and not spec.tfds:
        whose = "files that tensorflow-datasets does not have" if name in BENCHMARKS else "your own files"
        names = ", ".join(" ".join(files.names) for files in spec.files.values())
        raise ConfigError(f"task {name} reads {whose}: set task.files to the folder with {names}")
    return Benchmark(spec, files, tfds_dir)


def _names():
    """Every name that task.name may hold, of the user's own files the form alone."""
    return [*TASKS, *BENCHMARKS, *MIXTURES, "jsonl:KIND", "tsv:KIND"]
