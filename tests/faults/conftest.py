"""How many of each fault, short and long, and the run that they are tried on."""

import dataclasses

import pytest

from tests.faults import CHAOS, commands


@dataclasses.dataclass(frozen=True)
class Length:
    """How often each fault is tried.

    Attributes:
        kills: kill -9 of a training command.
        save_kills: kill -9 of a process that does nothing but save checkpoints.
        prepare_kills: kill -9 of a command that prepares data.
        signals: SIGTERM to a training command.
        flips: files with one bit changed.
        cuts: files cut short.
        full_disks: sizes of a disk that is full at some time; without the right to mount one, none.
        processes: kill -9 of one of two processes, and of one of four.
    """

    kills: int
    save_kills: int
    prepare_kills: int
    signals: int
    flips: int
    cuts: int
    full_disks: int
    processes: int


SHORT = Length(kills=1, save_kills=3, prepare_kills=0, signals=0, flips=12, cuts=6, full_disks=0, processes=0)
LONG = Length(kills=100, save_kills=100, prepare_kills=50, signals=50, flips=200, cuts=200, full_disks=20, processes=4)


@pytest.fixture(scope="session")
def length():
    return LONG if CHAOS else SHORT


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A commands.Finished run that nothing has disturbed."""
    return commands.undisturbed(tmp_path_factory.mktemp("whole"))
