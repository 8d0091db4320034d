"""What is written is whole or not there, and a lock is held by one at a time."""

import errno
import json
import os
import sys
import threading

import numpy as np
import pytest

from cloze import cli, storage


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "folder" / "file"
    for text in ("first", "second"):
        before = path.read_text() if path.exists() else None
        with storage.whole(path) as partial:
            partial.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
    with pytest.raises(KeyboardInterrupt), storage.whole(path) as partial:
        partial.write_text("third")
        raise KeyboardInterrupt
    assert path.read_text() == "second" and [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with storage.whole(path) as partial:
        assert not partial.exists()
        partial.mkdir()
        (partial / "file").write_text("text")
        with pytest.raises(ZeroDivisionError), storage.whole(path / "inner") as inner:
            inner.mkdir()
            raise ZeroDivisionError
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "file"]
    with pytest.raises(OSError), storage.whole(path) as partial:
        partial.mkdir()
    assert (path / "file").read_text() == "text"


def test_what_a_killed_process_has_left_goes(tmp_path):
    left = tmp_path / ".folder.partial"
    left.mkdir()
    (left / "stale").write_text("text")
    with storage.whole(tmp_path / "folder") as partial:
        assert not partial.exists()
        partial.mkdir()
    assert not list((tmp_path / "folder").iterdir()) and not left.exists()


def test_who_comes_second_is_told_and_waits(tmp_path):
    told, order = threading.Event(), []

    def second():
        with storage.lock(tmp_path / "lock", told.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with storage.lock(tmp_path / "lock", pytest.fail):
        thread.start()
        assert told.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_who_comes_second_may_refuse(tmp_path):
    def busy():
        raise ValueError("busy")

    with storage.lock(tmp_path / "lock", busy):
        with pytest.raises(ValueError, match="busy"), storage.lock(tmp_path / "lock", busy):
            pass
    with storage.lock(tmp_path / "lock", busy):
        pass


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    "error, number",
    [
        (OSError(errno.EDQUOT, "quota"), errno.EDQUOT),
        (RuntimeError(f"write() failed: {FULL}; writing /x; at byte 3"), errno.ENOSPC),  # array_record's
        (
            ValueError(f'RESOURCE_EXHAUSTED: Failed to write: {FULL} [os_error_code="28"]'),
            errno.ENOSPC,
        ),  # tensorstore's
        (OSError("1000000 requested and 131056 written"), errno.ENOSPC),  # numpy's
        (FileNotFoundError(errno.ENOENT, "none"), None),
        (ValueError("another one"), None),
    ],
)
def test_why_the_system_does_not_write_is_found_in_errors_of_all_libraries(error, number):
    if number is None:
        with pytest.raises(type(error)) as caught, storage.writing("/some/file"):
            raise error
        assert caught.value is error
        return
    with pytest.raises(OSError) as caught, storage.writing("/some/file"):
        raise error
    assert (caught.value.errno, caught.value.filename) == (number, "/some/file")
    message = str(storage.write_error(caught.value))
    assert "/some/file" in message and os.strerror(number) in message and "same command again" in message


def test_text_is_appended_at_once_or_the_file_is_named(tmp_path):
    appender = storage.Appender(tmp_path / "log")
    appender.write("one \udcff\n")
    assert (tmp_path / "log").read_text() == "one \\udcff\n"
    with pytest.raises(OSError, match="/dev/full"):
        storage.Appender("/dev/full").write("two")
    with pytest.raises(OSError, match="/dev/full"):
        cli.Log("/dev/full")("two")


def test_a_verb_that_cannot_write_ends_with_74_and_one_message(capsys, monkeypatch):
    def main():
        np.ones(10**6).tofile("/dev/full")

    monkeypatch.setattr("sys.argv", ["verb"])
    monkeypatch.setattr("os._exit", sys.exit)  # a verb ends at once: threads may wait for one that could not write
    with pytest.raises(SystemExit) as ended:
        cli.run(main, "usage")
    errors = capsys.readouterr().err
    assert ended.value.code == 74 and len(errors.splitlines()) == 1 and FULL in errors


def test_a_checksum_covers_every_value_and_the_checksum_itself(tmp_path):
    path, value = tmp_path / "file.json", {"a": [1, {"b": (2.5, None)}], "c": "text"}
    storage.write_checked(path, value)
    assert storage.read_checked(path) == json.loads(json.dumps(value))
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            try:
                read = storage.read_checked(path)
            except ValueError:
                continue
            assert json.loads(broken) == json.loads(whole) and read == json.loads(json.dumps(value))  # white space
    path.write_text('{"a": 3}')  # of an earlier version
    assert storage.read_checked(path) == {"a": 3}


def test_threads_that_report_to_a_save_that_has_failed_are_silent(capsys, monkeypatch):
    """What they raise has nobody to go to, as what __del__ raises."""

    class Reporting:
        def __del__(self):
            raise RuntimeError(self.text)

    monkeypatch.setattr(sys, "unraisablehook", cli._unraisable)
    for text, printed in (("Event loop is closed", False), ("another error", True)):
        reporting = Reporting()
        reporting.text = text
        del reporting
        assert (text in capsys.readouterr().err) == printed
