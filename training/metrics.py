"""Where metrics go: JSON lines and TensorBoard, written by the first process only."""

import json
import math
import pathlib
import socket
import time

from cloze import storage
from cloze.training import goodput

FLUSH_SECONDS = 120  # between the times that events reach the disk, as tensorboardX has it
SHOWN = 200  # bytes of a line that cannot be read


class MetricWriter:
    """Writes `metrics.jsonl` and `tensorboard/` in a run's directory.

    Args:
        workdir: the run's directory.
        resume_step: lines after this step are cut off: they belong to work that is done again. Of the account of
            seconds (training/goodput.py) the last line stays, as one of this step.
        report: called with a message about lines that cannot be read; these go as well.
    """

    def __init__(self, workdir, resume_step, report=print):
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        _truncate(self._path, resume_step, report)
        self._file = storage.Appender(self._path)
        self._board = _Board(pathlib.Path(workdir) / "tensorboard", resume_step + 1)

    def write(self, step, split, values):
        """Writes one line.

        Args:
            step: updates made.
            split: "train", "validation", "spike" (a step that stands out) or "goodput".
            values: {metric: number}; a number that is not finite is written as null.
        """
        clean = {k: (v if isinstance(v, int) or math.isfinite(v) else None) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split, **clean}) + "\n")
        self._board.write(step, {f"{split}/{name}": value for name, value in clean.items() if value is not None})

    def close(self):
        self._file.close()
        self._board.close()


class _Board:
    """A file of events for TensorBoard, written at once: tensorboardX's own writer loses errors in a thread.

    Args:
        directory: where it is made.
        purge_step: TensorBoard hides what earlier files say of this step and later ones.
    """

    def __init__(self, directory, purge_step):
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        self._event, self._scalar = Event, scalar
        directory.mkdir(exist_ok=True)
        self._path = directory / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._records, self._flushed = RecordWriter(str(self._path)), time.monotonic()
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def _add(self, event):
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())

    def write(self, step, values):
        with storage.writing(self._path):
            for name, value in values.items():
                self._add(self._event(step=step, summary=self._scalar(name, value)))
            if time.monotonic() - self._flushed > FLUSH_SECONDS:  # which waits for the disk
                self._records.flush()
                self._flushed = time.monotonic()

    def close(self):
        with storage.writing(self._path):
            self._records.close()


class NoWriter:
    """For processes other than the first."""

    def write(self, step, split, values):
        """Writes nothing."""

    def close(self):
        """Closes nothing."""


def _truncate(path, last_step, report):
    """Keeps the lines of steps up to `last_step`, and says which lines are of no known step."""
    if not path.exists():
        return
    kept, unreadable, account = [], [], None
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        step = _step_of(line)
        if step is None:
            unreadable.append(f"{number}: {line[:SHOWN].decode(errors='backslashreplace').strip()}")
        elif (found := goodput.parse(line)) is not None:
            account = found | {"step": min(step, last_step)}
        elif step <= last_step:
            kept.append(line.rstrip(b"\r\n") + b"\n")
    if account is not None:
        kept.append(json.dumps(account).encode() + b"\n")
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        report(
            f"Warning: {path}, line {unreadable[0]}{more}: no JSON object with a step (a line is torn where the "
            "process or the machine ended while it was written). It is taken out; the other lines stay"
        )
    with storage.whole(path) as partial:
        partial.write_bytes(b"".join(kept))


def _step_of(line):
    """The step of a line of metrics; None: it is no such line."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int else None
