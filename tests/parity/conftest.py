"""Prints the differences from PyTorch after the tests."""

from tests.parity import harness


def pytest_terminal_summary(terminalreporter):
    """The table of all comparisons."""
    if harness.DIFFERENCES:
        terminalreporter.write_line("\n".join(["", *harness.table()]))
