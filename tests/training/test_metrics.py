"""The log of metrics: what can be read stays, what cannot is named, and no step appears twice."""

import json
import struct

import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cloze.training.metrics import MetricWriter

LINES = [json.dumps({"step": step, "split": "train", "loss": 1.0 / step}) for step in (1, 2, 3)]


def resumed(path, content, step):
    """(steps in the file when a run goes on after `step`, messages)."""
    (path / "metrics.jsonl").write_bytes(content)
    messages = []
    writer = MetricWriter(path, step, messages.append)
    writer.write(step + 1, "train", {"loss": 0.5})
    writer.close()
    return [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()], messages


def test_lines_of_work_that_is_done_again_go(tmp_path):
    assert resumed(tmp_path, "\n".join(LINES).encode(), 2) == ([1, 2, 3], [])


BAD = [b"7", b"null", b"[1]", b'{"step": "2"}', b'{"step": null}', b'{"loss": 1}', b'{"step": 1.5}', b"\xff\x00", b""]
BAD += [LINES[1][:20].encode(), b"[" * 100_000, b'{"step": 2]']


@pytest.mark.parametrize("bad", BAD)
def test_a_line_that_cannot_be_read_is_named_and_the_others_stay(bad, tmp_path):
    content = b"\n".join([LINES[0].encode(), bad, LINES[2].encode()]) + b"\n"
    steps, messages = resumed(tmp_path, content, 3)
    assert steps == [1, 3, 4] and len(messages) == 1
    assert f"{tmp_path}/metrics.jsonl, line 2:" in messages[0] and len(messages[0]) < 1000


def test_many_lines_that_cannot_be_read_are_one_message(tmp_path):
    steps, messages = resumed(tmp_path, b"\n".join([b"a", LINES[0].encode(), b"b", b"c"]), 1)
    assert steps == [1, 2] and len(messages) == 1 and "line 1: a, and 2 more:" in messages[0]


def events(path):
    """The events in a directory of TensorBoard's, files in their order; a record: length, sum, content, sum."""
    found = []
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_tensorboard_gets_what_the_log_gets_and_hides_what_comes_again(tmp_path):
    writer = MetricWriter(tmp_path, 4)
    writer.write(5, "train", {"loss": 0.5, "count": 3, "none": float("nan")})
    writer.close()
    version, purge, *scalars = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert purge.step == 5 and purge.session_log.status == SessionLog.START
    told = [(event.step, value.tag, value.simple_value) for event in scalars for value in event.summary.value]
    assert told == [(5, "train/loss", 0.5), (5, "train/count", 3.0)]


def test_a_full_disk_is_named_where_events_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, "open_file", lambda path: open("/dev/full", "wb"))
    writer = MetricWriter(tmp_path, 0)
    writer.write(1, "train", {"loss": 0.5})
    with pytest.raises(OSError, match="No space left on device: .*/tensorboard/events"):
        writer.close()
