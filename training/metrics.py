"""Where metrics go: JSON lines and TensorBoard, written by the first process only."""

import json
import math
import pathlib

from cloze import storage


class MetricWriter:
    """Writes `metrics.jsonl` and `tensorboard/` in a run's directory.

    Args:
        workdir: the run's directory.
        resume_step: lines after this step are cut off: they belong to work that is done again.
    """

    def __init__(self, workdir, resume_step):
        from tensorboardX import SummaryWriter

        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        _truncate(self._path, resume_step)
        self._file = open(self._path, "a")
        self._board = SummaryWriter(str(pathlib.Path(workdir) / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step, split, values):
        """Writes one line.

        Args:
            step: updates made.
            split: "train" or "validation".
            values: {metric: number}; a number that is not finite is written as null.
        """
        clean = {k: (v if isinstance(v, int) or math.isfinite(v) else None) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split, **clean}) + "\n")
        self._file.flush()
        for name, value in clean.items():
            if value is not None:
                self._board.add_scalar(f"{split}/{name}", value, step)

    def close(self):
        self._file.close()
        self._board.close()


class NoWriter:
    """For processes other than the first."""

    def write(self, step, split, values):
        """Writes nothing."""

    def close(self):
        """Closes nothing."""


def _truncate(path, last_step):
    """Keeps the lines of steps up to `last_step`; a torn last line goes as well."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    with storage.whole(path) as partial:
        partial.write_text("".join(kept))
