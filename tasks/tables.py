"""Scores and predictions as text: tables, rankings, and what JSON can hold."""

import dataclasses
import math

from cloze.tasks.text_scores import BLANK


def scores(rows, errors=None):
    """Lines of a table of scores.

    Args:
        rows: {name: {metric: value}}; the first names the columns, others may lack some.
        errors: {name: {metric: standard error}} of some rows.
    """
    errors = errors or {}
    columns = list(next(iter(rows.values())))
    cells = {
        name: [shown(row[key], errors.get(name, {}).get(key)) if key in row else "" for key in columns]
        for name, row in rows.items()
    }
    widths = [max(12, len(metric), *(len(row[n]) for row in cells.values())) for n, metric in enumerate(columns)]
    first = max(map(len, rows))
    lines = [" " * (first + 2) + "".join(f"  {metric:>{width}}" for metric, width in zip(columns, widths, strict=True))]
    for name, row in cells.items():
        lines.append(
            f"  {name:<{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        )
    return lines


def shown(value, error=None):
    """A score as it is printed; correlations are not defined where all predictions are the same."""
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:.4f}" if error is None or math.isnan(error) else f"{value:.4f} ± {error:.4f}"


def plain(prediction):
    """A prediction as JSON can hold it."""
    if dataclasses.is_dataclass(prediction):
        return dataclasses.asdict(prediction)
    return prediction._asdict() if hasattr(prediction, "_asdict") else prediction


def rankings(examples, predictions):
    """Lines of a few examples of kind ranking: the answers or texts in the model's order, the right one marked."""
    lines = []
    for example, prediction in zip(examples, predictions, strict=True):
        names = example.get("answers", example["texts"])
        order = sorted(range(len(names)), key=lambda n: -prediction.log_probs[n])
        rank = prediction.rank(example["label"])
        lines.append(f"\n{example['paradigm']}: {example.get('question', 'which sentence?').replace(BLANK, '___')}")
        parts = [f"{'*' if n == example['label'] else ''}{names[n]} {prediction.log_probs[n]:.2f}" for n in order]
        lines += [f"  {' | '.join(parts)}" if "question" in example else "\n".join(f"  {part}" for part in parts)]
        if prediction.best:
            lines.append("  of all pieces: " + "  ".join(f"{piece} {100 * p:.1f}%" for piece, p in prediction.best))
        lines.append(f"  {'right' if rank == 1 else f'wrong: rank {rank} of {len(names)}'}")
    return [*lines, "\n* the right answer; numbers are log-probabilities of the whole text in nats"]
