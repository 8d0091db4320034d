"""How far something long has come, and when it will be done."""

import time


class Progress:
    """Says every few seconds how much is done and how long the rest will take.

    Args:
        report: called with a line.
        what: what is counted, "blimp: rows".
        total: how many there are.
        every: seconds between two lines; what takes less says nothing.
    """

    def __init__(self, report, what, total, every=10.0):
        self._report, self._what, self._total, self._every = report, what, total, every
        self._began = self._spoken = time.perf_counter()
        self._count = 0

    def __call__(self, count):
        """Counts so many more."""
        self._count += count
        now = time.perf_counter()
        if now - self._spoken > self._every and self._count < self._total:
            self._spoken = now
            left = (now - self._began) * (self._total - self._count) / self._count
            self._report(f"{self._what}: {self._count:,} of {self._total:,}, about {duration(left)} left")


def duration(seconds):
    """Seconds as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
