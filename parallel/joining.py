"""Joining the processes of a run: first a roll call, so that who is missing has a name, then JAX's own way.

JAX waits for all processes, and where one does not come it aborts the others without saying which. So the first process
listens where JAX will, hears a line from each other one, and answers all at once when all are there or time is up.
"""

import contextlib
import dataclasses
import errno
import json
import os
import re
import socket
import time

from cloze.errors import ConfigError, ProcessLost

_LINE = 1 << 16  # bytes of a message at most
_RETRY = 0.1  # seconds between attempts to reach the first process
_ANSWER = 10  # seconds that an answer may take on its way, and a stranger to say something
_SHOWN = 20  # numbers of processes in a message
_ADDRESS = re.compile(r"\[?(?P<host>[^\[\]\s]+)\]?:(?P<port>\d{1,5})")


@dataclasses.dataclass(frozen=True)
class Place:
    """Of a process in a run.

    Attributes:
        address: HOST:PORT of the first process.
        count: number of processes.
        number: of this one, from 0.
    """

    address: str
    count: int
    number: int

    def __post_init__(self):
        """Refuses what is no place.

        Raises:
            ConfigError: an address of another form, or numbers that do not fit.
        """
        if not self.address or self.count < 1 or not 0 <= self.number < self.count:
            raise ConfigError(
                "a multi-process run needs all of --coordinator=HOST:PORT, --num_processes=N and --process_id=I "
                "with 0 <= I < N"
            )
        if not _ADDRESS.fullmatch(self.address):
            raise ConfigError(f"--coordinator={self.address} is no HOST:PORT, as 10.0.0.2:8476")

    @property
    def host_and_port(self) -> tuple[str, int]:
        found = _ADDRESS.fullmatch(self.address)
        return found["host"], int(found["port"])


def join(place: Place | None, seconds: int, **timeouts: int) -> None:
    """Joins a run through jax.distributed, when all of its processes are there.

    Args:
        place: of this process; None: JAX finds it.
        seconds: for which the processes wait for each other.
        timeouts: further arguments of jax.distributed.initialize.

    Raises:
        ProcessLost: processes are missing; the same message in all that are there.
        ConfigError: the processes contradict each other.
    """
    import jax

    if place is None:
        place = _managed_place(seconds)
    else:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    roll_call(place, seconds)
    jax.distributed.initialize(
        place.address, place.count, place.number, initialization_timeout=seconds, **timeouts
    )  # also finds local devices, which Slurm tells


def _managed_place(seconds):
    """The Place that JAX finds."""
    from jax._src import clusters  # nothing public tells it before the processes have met

    try:
        address, count, number, _ = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, seconds
        )
    except RuntimeError as error:  # the first host has no address yet
        raise ProcessLost(f"the first process of this run is not found ({error}): start all processes again") from None
    return Place(address or "", count or 0, -1 if number is None else number)


def roll_call(place: Place, seconds: float) -> None:
    """Returns when all processes of a run are there.

    Args:
        place: of this process.
        seconds: for which they are waited for.

    Raises:
        ProcessLost: some are missing, or nobody answers at the address; the message names them.
        ConfigError: two processes have the same number, they do not agree on how many there are, or the port is taken.
    """
    deadline = time.monotonic() + seconds
    if place.count == 1:
        return
    if place.number:
        _report(place, seconds, deadline)
    else:
        with _listener(place) as listener:
            answer = _Register(place, seconds).complete(listener, deadline)
        _raise(answer)


def _listener(place):
    """A socket where JAX's service will be."""
    port, several = place.host_and_port[1], socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if several else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=several, backlog=4096)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise ConfigError(
            f"--coordinator={place.address}: process 0 cannot listen on port {port} of this machine "
            f"({os.strerror(error.errno)}): end what uses it, or name another port to all processes"
        ) from None


class _Register:
    """Who has come; the first process has it."""

    def __init__(self, place, seconds):
        self._place, self._seconds = place, seconds
        self._there = {}  # {number: connection}

    def complete(self, listener, deadline):
        """The answer that all get, {} where all are there."""
        answer = {}
        with contextlib.ExitStack() as stack:
            while not answer and (missing := self._missing()):
                left = deadline - time.monotonic()
                if left <= 0:
                    answer = _lost(f"{_named(missing)} of {self._place.count} did not come within {self._seconds} s "
                                   f"(--start_timeout) to {self._place.address}: see why, ")  # fmt: skip
                    break
                listener.settimeout(min(left, 1))
                with contextlib.suppress(TimeoutError):
                    answer = self._receive(stack.enter_context(listener.accept()[0]))
            for connection in self._there.values():
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps(answer).encode() + b"\n")
            if not answer:
                self._await_ends()
        return answer

    def _receive(self, connection):
        """Notes who says that it is there; gives an answer for all where that cannot be."""
        connection.settimeout(_ANSWER)
        try:
            said = _read(connection)
            number, count = int(said["number"]), int(said["count"])
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()  # a stranger
            return {}
        before = self._there.get(number)
        self._there[number] = connection
        if count != self._place.count:
            return _refused(f"process {number} was started with --num_processes={count}, process 0 with "
                            f"--num_processes={self._place.count}: give all the same")  # fmt: skip
        if before is not None and _is_open(before):
            self._there[-1 - number] = before  # is answered as well
            return _refused(f"two processes were started with --process_id={number}: give each its own number")
        return {}

    def _missing(self):
        """Numbers that have not come, or have gone again; looked at closely when all seem to be there."""
        numbers = range(1, self._place.count)
        missing = [number for number in numbers if number not in self._there]
        return missing or [number for number in numbers if not _is_open(self._there[number])]

    def _await_ends(self):
        """The others end the connections: so no address of this machine is kept, and JAX can listen there at once."""
        for connection in self._there.values():
            with contextlib.suppress(OSError):
                connection.recv(1)


def _report(place, seconds, deadline):
    """Says that this process is there, and waits for the answer."""
    said = json.dumps({"number": place.number, "count": place.count}).encode() + b"\n"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(place.host_and_port, timeout=min(left, _ANSWER)) as connection:
                connection.sendall(said)
                connection.settimeout(left + _ANSWER)
                answer = _read(connection)
        except ValueError:
            _raise(_lost(f"at {place.address} this run has begun without process {place.number}, or something else "
                         "answers there: end all of its processes, "))  # fmt: skip
        except OSError:
            time.sleep(_RETRY)
            continue
        _raise(answer)
        _await_open(place, deadline)
        return
    _raise(_lost(f"process 0 of {place.count} does not answer at {place.address} within {seconds} s "
                 "(--start_timeout): see why, and whether that address can be reached from here, "))  # fmt: skip


def _await_open(place, deadline):
    """Returns when JAX's service listens, which it would ask in vain before, and then wait a second."""
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(place.host_and_port, timeout=_ANSWER):
            return
        time.sleep(0.01)


def _read(connection):
    """The dict in the next line.

    Raises:
        OSError: the line did not come.
        ValueError: it is none of ours.
    """
    with connection.makefile("rb") as stream:
        line = stream.readline(_LINE)
    if not line:
        raise ConnectionResetError("closed")
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ValueError(said)
    return said


def _is_open(connection):
    try:
        connection.settimeout(0)
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_ANSWER)


def _named(numbers):
    """ "process 2", or "processes 2, 5 and 6"."""
    shown = [str(number) for number in numbers[:_SHOWN]]
    if len(numbers) > _SHOWN:
        shown.append(f"{len(numbers) - _SHOWN} more")
    return f"process {shown[0]}" if len(shown) == 1 else f"processes {', '.join(shown[:-1])} and {shown[-1]}"


def _lost(text):
    return {"lost": f"{text}and start all processes again"}


def _refused(text):
    return {"refused": text}


def _raise(answer):
    if "lost" in answer:
        raise ProcessLost(answer["lost"])
    if "refused" in answer:
        raise ConfigError(answer["refused"])
