"""What every verb does before it reads its flags."""

import os
import sys

import pytest

from cloze import cli


@pytest.mark.parametrize(
    "mode, tunables, expected",
    [
        ("always [madvise] never", "", "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.cpu.x86_shstk=on", "glibc.cpu.x86_shstk=on:glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", None),  # as the user says
        ("[always] madvise never", "", None),
        ("always madvise [never]", "", None),
        (None, "", None),  # another system
    ],
)
def test_a_verb_begins_anew_where_that_gives_it_huge_pages(mode, tunables, expected, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(cli, "PAGES", tmp_path / "enabled")
    if mode is not None:
        cli.PAGES.write_text(mode)
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-W", "ignore", "train.py", "--config=x"])
    monkeypatch.setattr(os, "execv", lambda *call: begun.append((*call, os.environ["GLIBC_TUNABLES"])))
    cli._take_huge_pages()
    program = sys.executable
    command = [program, "-W", "ignore", "train.py", "--config=x"]
    assert begun == ([] if expected is None else [(program, command, expected)])
