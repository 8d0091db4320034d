"""The check at start: of the backend, and of kernels of our own, which accelerators run and a CPU interprets."""

import dataclasses

import pytest

from cloze.errors import ConfigError
from cloze.models.backends import choice, flash
from cloze.parallel import self_check


@pytest.fixture(autouse=True)
def unfit(monkeypatch):
    """Which kernels are refused; as it was, after the test."""
    monkeypatch.setattr(choice, "UNFIT", {})
    return choice.UNFIT


PACKED = choice.Case(platform="gpu", capability=(9, 0), segments=True)


def test_it_passes_here_and_refuses_a_wrong_backend(monkeypatch):
    self_check.check_backend()
    right = self_check._program
    monkeypatch.setattr(self_check, "_program", lambda weights, rows: right(weights, rows) * 2)
    with pytest.raises(ConfigError, match="computes wrongly"):
        self_check.check_backend()


def test_a_kernel_that_is_right_is_used(unfit):
    unfit.update(self_check.unfit_kernels())
    assert not unfit
    assert choice.choose(PACKED).backend == "flash"


def wrong(self, q, k, v, visibility, **options):
    """Attention without the rule of segments."""
    return right(self, q, k, v, dataclasses.replace(visibility, query_segments=None, key_segments=None), **options)


def broken(self, *arguments, **options):
    raise RuntimeError("out of registers\nand more lines")


right = flash.Flash.compute


@pytest.mark.parametrize("compute, words", [(wrong, "differs by"), (broken, "devices: out of registers")])
def test_one_that_is_not_is_left_out_and_the_log_says_why(compute, words, monkeypatch, unfit):
    monkeypatch.setattr(flash.Flash, "compute", compute)
    unfit.update(self_check.unfit_kernels())
    chosen = choice.choose(PACKED)
    assert chosen.backend == "einsum" and words in str(chosen) and "more lines" not in str(chosen)
    with pytest.raises(ConfigError, match=words):
        choice.asked("flash", PACKED)
