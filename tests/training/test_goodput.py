"""The account of seconds: each is of one kind, it goes on over restarts, and what is lost is computed again."""

import json
import time

import pytest

from cloze.training import goodput
from cloze.training.goodput import KINDS, Goodput, last_line
from cloze.training.metrics import MetricWriter


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def pass_(self, seconds):
        self.now += seconds


@pytest.fixture
def clock_of_test(monkeypatch):
    return Clock(monkeypatch)


def spend(account, clock, steps, computing=2.0, waiting=0.5):
    for step in steps:
        account.at(step)
        with account.spent("waiting"):
            clock.pass_(waiting)
        clock.pass_(computing)


def test_every_second_is_of_one_kind(clock_of_test):
    account = Goodput(began=-10.0)
    spend(account, clock_of_test, [1, 2])
    with account.spent("evaluating"):
        clock_of_test.pass_(3.0)
    with pytest.raises(OSError), account.spent("saving"):  # also where it fails
        clock_of_test.pass_(1.0)
        raise OSError
    clock_of_test.pass_(0.25)
    values = account.values()
    assert {kind: values[kind] for kind in KINDS} == {
        "computing": 4.25, "recomputing": 0.0, "waiting": 1.0, "saving": 1.0, "evaluating": 3.0, "starting": 10.0,
    }  # fmt: skip
    assert sum(account.seconds.values()) == clock_of_test.now + 10.0
    assert values["goodput"] == pytest.approx(4.25 / 19.25)


def test_it_goes_on_after_a_crash_and_counts_what_comes_again(clock_of_test, tmp_path):
    writer, account = MetricWriter(tmp_path, 0), Goodput(clock_of_test.now)
    clock_of_test.pass_(5.0)
    spend(account, clock_of_test, [1, 2, 3, 4])
    writer.write(2, "train", {"loss": 1.0})
    writer.write(4, goodput.SPLIT, account.values())
    spend(account, clock_of_test, [5])  # of which nothing is known after a kill
    writer.close()

    account = Goodput(clock_of_test.now, last_line(tmp_path / "metrics.jsonl"))
    MetricWriter(tmp_path, 2).close()  # goes on after step 2, and is killed at once
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [(2, "train"), (2, "goodput")]
    assert last_line(tmp_path / "metrics.jsonl")["reached"] == 4  # all is still known
    clock_of_test.pass_(5.0)
    spend(account, clock_of_test, [3, 4, 5])
    values = account.values()
    assert (values["starts"], values["reached"], values["starting"], values["waiting"]) == (2, 5, 10.0, 3.5)
    assert (values["computing"], values["recomputing"]) == (4 * 2.0 + 2.0, 2 * 2.0)
    shown = account.summary()
    assert shown.startswith("Goodput 36.4% of 0m28s in 2 starts: computing 0m10s") and "saving" not in shown


def test_a_rewind_in_one_process_is_a_start_and_computing_again(clock_of_test):
    account = Goodput(clock_of_test.now)
    spend(account, clock_of_test, [1, 2, 3], waiting=0)
    account.restart()
    clock_of_test.pass_(7.0)
    spend(account, clock_of_test, [2, 3, 4], waiting=0)
    assert [account.values()[kind] for kind in ("computing", "recomputing", "starting")] == [8.0, 4.0, 7.0]


@pytest.mark.parametrize("line", [b"", b"{", b'{"split": "goodput"}', b'{"split": "goodput", "step": "1"}'])
def test_a_line_that_cannot_be_read_is_passed_over(line, tmp_path):
    good = {"step": 3, "split": "goodput", "starts": 1, "reached": 3, **dict.fromkeys(KINDS, 1.0)}
    (tmp_path / "metrics.jsonl").write_bytes(json.dumps(good).encode() + b"\n" + line + b"\n")
    assert last_line(tmp_path / "metrics.jsonl") == good
    assert last_line(tmp_path / "none.jsonl") is None
