"""Validation: the loss of the held-out split, and the metrics of a task where there is one."""

import dataclasses
import functools
import math
from typing import Any

import jax

from cloze import tasks
from cloze.tasks import metrics, predict
from cloze.training.program import Program, scored_kind
from cloze.training.step import TrainState

_OF_SOURCE = "loss/"  # then the source as data.source has it
_SHORT = 24  # letters of a source's name on the console


@dataclasses.dataclass(frozen=True, eq=False)
class Validator:
    """Scores states of a run (training.run.Run) on its validation split, with the same corruption at every step."""

    run: Any

    @functools.cached_property
    def labelled(self) -> tuple | None:
        """(the Task, its validation examples) whose metrics are among those of validation, or None."""
        if scored_kind(self.run) is None:
            return None
        (task,) = tasks.read_by(self.run.config, self.run.objective.rows)
        return task, list(task.examples("validation"))

    @property
    def num_batches(self) -> int:
        """Whole batches only, unless there is less than one."""
        return self._most(self.run.data["validation"], 1)

    def _most(self, data, share):
        return max(1, min(-(-self.run.config.train.eval_batches // share), int(data.steps_per_epoch)))

    @functools.cached_property
    def key(self) -> jax.Array:
        """Batch i is corrupted with fold_in(key, i)."""
        return jax.random.fold_in(jax.random.key(self.run.config.seed, impl="threefry2x32"), 3)

    def loss_terms(self, program: Program) -> list[str]:
        """The names of what `__call__` gives, but for the metrics of a task."""
        rows = self.run.rows(self.run.data["validation"], 0)
        with self.run.context():
            terms, _ = jax.eval_shape(program.eval_step, program.abstract_state, rows, self.key)
        return ["loss", *terms, *map(of_source, self.run.data["validation"].apart)]

    def __call__(self, program: Program, state: TrainState) -> dict[str, float]:
        """{metric: value} over at most `train.eval_batches` batches.

        A metric is NaN where nothing is scored that it is of, and the loss where nothing at all is. Of labelled
        examples the metrics of the task are among them, where all batches are read. Of a mixture of texts the loss of
        each source is, over its own first rows: all sources together read as many batches again.
        """
        data = self.run.data["validation"]
        values, answers = self._score(program, state, data, self.num_batches)
        for name, alone in data.apart.items():
            scored, _ = self._score(program, state, alone, self._most(alone, len(data.apart)))
            values[of_source(name)] = scored["loss"]
        return values | self._task_metrics(answers)

    def _score(self, program, state, data, batches):
        """({metric: value} over the first batches of a Data, what the head answers to each)."""
        totals, answers = {}, []
        with self.run.context():
            for index in range(batches):
                rows = self.run.rows(data, index)
                terms, scores = jax.device_get(program.eval_step(state, rows, jax.random.fold_in(self.key, index)))
                answers.append(scores)
                for name, term in terms.items():
                    old = totals.get(name, (0.0, 0.0))
                    totals[name] = (old[0] + float(term.sum), old[1] + float(term.weight))
        means = {name: total / weight if weight else math.nan for name, (total, weight) in totals.items()}
        parts = [float(term.coefficient) * means[n] for n, term in terms.items() if term.coefficient and totals[n][1]]
        return {"loss": sum(parts) if parts else math.nan, **means}, answers

    def _task_metrics(self, answers):
        """{metric: value} of the task, from what the head gives to each batch of the validation split."""
        data = self.run.data["validation"]
        if self.labelled is None or len(answers) < data.steps_per_epoch:
            return {}
        task, examples = self.labelled
        if isinstance(task, tasks.Ordered):  # metrics are of the task's own order: F1 is of its second class
            answers = [scores[..., task.columns] for scores in answers]
            task, examples = task.task, list(task.task.examples("validation"))
        predictions = predict.from_heads(task, examples, data.features, answers, self.run.config.task)
        return metrics.score(task, predictions, examples)


def of_source(name: str) -> str:
    """What the loss of one source of a mixture is called among the metrics."""
    return f"{_OF_SOURCE}{name}"


def line(values: dict[str, float]) -> str:
    """The metrics of validation for the console; losses of single sources come last, with the ends of their names."""
    whole = {name: value for name, value in values.items() if not name.startswith(_OF_SOURCE)}
    apart = {name.removeprefix(_OF_SOURCE): value for name, value in values.items() if name not in whole}
    shown = [f"{name} {value:.4f}" for name, value in whole.items()]
    short = [
        f"{name if len(name) <= _SHORT else '...' + name[3 - _SHORT :]} {value:.4f}" for name, value in apart.items()
    ]
    return "  ".join(shown) + (f"  ({', '.join(short)})" if short else "")
