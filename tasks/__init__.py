"""What models are judged by: texts with labels, by name."""

from configs.base import suggest
from errors import ConfigError
from tasks.base import Task
from tasks.embedded import Package

__all__ = ["TASKS", "Task", "get", "read_by"]

TASKS = {task.name: task for task in (Package(),)}


def read_by(config, rows):
    """The Task that `rows` (objectives.base.Rows) are examples of, by task.name; None where they are text."""
    return get(config.task.name) if rows.kind == "examples" else None


def get(name):
    """The Task of a name.

    Raises:
        ConfigError: there is none.
    """
    if not name:
        raise ConfigError(f"this objective reads labelled examples: set task.name to one of {', '.join(TASKS)}")
    if name not in TASKS:
        raise ConfigError(f"unknown task.name={name!r}{suggest(name, TASKS) or '.'} Known tasks: {', '.join(TASKS)}")
    return TASKS[name]
