"""What is written is whole or not there, and a lock is held by one at a time."""

import threading

import pytest

from cloze import storage


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
