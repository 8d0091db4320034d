"""The roll call of processes: all are there, or everybody learns who is missing."""

import contextlib
import socket
import threading

import pytest

from cloze.errors import ConfigError, ProcessLost
from cloze.parallel import joining
from cloze.parallel.joining import Place


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def call(places, seconds, before=lambda port: None):
    """What each of several processes gets from the roll call: an error or None; `places` are (number, count)."""
    found, port = {}, free_port()
    before(port)

    def one(key, number, count):
        try:
            joining.roll_call(Place(f"localhost:{port}", count, number), seconds)
            found[key] = None
        except Exception as error:
            found[key] = error

    threads = [threading.Thread(target=one, args=(key, *place)) for key, place in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [found[key] for key in range(len(places))]


@pytest.fixture(autouse=True)
def no_service(monkeypatch):
    """No service of JAX comes after the roll call."""
    monkeypatch.setattr(joining, "_await_open", lambda place, deadline: None)


def test_all_are_there_in_any_order():
    assert call([(3, 4), (1, 4), (2, 4), (0, 4)], 20) == [None] * 4
    assert call([(0, 1)], 20) == [None]


def test_who_is_missing_is_named_in_all_that_are_there():
    errors = call([(1, 6), (0, 6), (4, 6)], 1)
    assert len({str(error) for error in errors}) == 1
    for error in errors:
        assert error.exit_code == ProcessLost.exit_code
        assert "processes 2, 3 and 5 of 6 did not come within 1 s" in str(error)


def test_the_first_process_is_named_where_nobody_answers():
    (error,) = call([(1, 2)], 1)
    assert isinstance(error, ProcessLost) and "process 0 of 2 does not answer at localhost:" in str(error)


def visiting(*lines):
    """A `before` of `call` that says each line in a connection of its own, the last of which stays open."""

    def say(port):
        for line in lines:
            connection = None
            while connection is None:
                with contextlib.suppress(OSError):
                    connection = socket.create_connection(("localhost", port), timeout=20)
            connection.sendall(line)
            if line != lines[-1]:
                connection.close()
        with contextlib.suppress(OSError):
            connection.recv(1000)
        connection.close()

    return lambda port: threading.Thread(target=say, args=(port,), daemon=True).start()


def test_a_process_that_has_gone_again_is_missing():
    lines = b'{"number": 1, "count": 3}\n', b'{"number": 2, "count": 3}\n'
    (error,) = call([(0, 3)], 2, visiting(*lines))
    assert "process 1 of 3 did not come" in str(error)


@pytest.mark.parametrize(
    "places, words",
    [
        ([(0, 3), (1, 3), (1, 3)], "two processes were started with --process_id=1"),
        ([(0, 3), (1, 4)], "process 1 was started with --num_processes=4, process 0 with --num_processes=3"),
    ],
)
def test_contradictions_are_refused_by_all(places, words):
    for error in call(places, 20):
        assert isinstance(error, ConfigError) and words in str(error)


def test_a_stranger_does_not_count():
    assert call([(0, 2), (1, 2)], 20, visiting(b"GET / HTTP/1.1\r\n\r\n")) == [None, None]


def test_another_program_at_the_address_is_named():
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"\0\0\x12\x04\0")  # as HTTP/2 begins
            connection.recv(100)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ProcessLost, match="has begun without process 1"):
            joining.roll_call(Place(f"localhost:{port}", 2, 1), 20)


def test_a_port_in_use_is_named():
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on port {port}"):
            joining.roll_call(Place(f"localhost:{port}", 2, 0), 20)


@pytest.mark.parametrize("address, count, number", [("", 2, 0), ("host", 2, 0), ("host:1", 2, 2), ("host:1", 0, 0)])
def test_what_is_no_place_is_refused(address, count, number):
    with pytest.raises(ConfigError, match="--coordinator="):
        Place(address, count, number)


def test_many_that_are_missing_are_counted():
    assert joining._named([7]) == "process 7"
    assert joining._named(list(range(1, 31))).endswith("19, 20 and 10 more")
