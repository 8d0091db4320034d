"""Runs on tasks of lm-evaluation-harness."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from cloze.errors import ConfigError
from cloze.options import suggest
from cloze.training import evaluation


def evaluate(
    trained: Any, names: Sequence[str], *, include: str = "", limit: int = 0, num_shots: int | None = None,
    batch_size: int = 32, report: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Scores a model that writes on tasks of lm-eval.

    Args:
        trained: training.restore.Trained.
        names: of tasks or groups of tasks.
        include: folder with further tasks, as YAML files; "": none.
        limit: examples of each task, from the first; 0: all.
        num_shots: examples that are shown; None: as the task says.
        batch_size: rows that are run at once.
        report: called with messages.

    Returns:
        {task: {metric: value}} with the harness's names; a metric behind a filter is "metric,filter".

    Raises:
        ConfigError: lm-eval is not installed, the model does not write, or no task has the name.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager

        from cloze.interop.harness import Adapter
    except ImportError as error:
        raise ConfigError(f"--lm_eval needs lm-evaluation-harness ({error}): pip install 'cloze[eval]'") from None
    model = trained.model.config
    if "lm" not in model.heads_out or model.architecture not in ("decoder", "encoder_decoder"):
        raise ConfigError(
            f"--lm_eval asks for continuations, and this run's model, of architecture {model.architecture} with the "
            f"heads {', '.join(model.heads_out)}, does not write: score it with --task"
        )
    tasks = TaskManager(include_path=include or None)
    for name in names:
        if name not in tasks.all_tasks:
            raise ConfigError(
                f"unknown --lm_eval={name}{suggest(name, tasks.all_tasks) or ':'} `lm-eval ls tasks` lists all; "
                "--files names a folder of your own"
            )
    adapter = Adapter(evaluation.writer(trained, batch_size=batch_size, report=report), report)
    found = lm_eval.simple_evaluate(
        model=adapter, tasks=list(names), num_fewshot=num_shots, limit=limit or None, task_manager=tasks,
        log_samples=False, bootstrap_iters=200,
    )  # fmt: skip
    return {name: _plain(scores) for name, scores in found["results"].items()}


def _plain(scores):
    """{metric: number} without names of filters that do nothing, aliases and errors that are not known."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in scores.items()
        if isinstance(value, (int, float)) and "," in key
    }
