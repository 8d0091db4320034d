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
            self._report(f"{self._what}: {self._count:,} of {self._total:,}, about {clock(left)} left")


def clock(seconds):
    """3725 -> "1h02m"; 65 -> "1m05s"."""
    seconds = int(seconds)
    if seconds >= 86400:
        return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s"
