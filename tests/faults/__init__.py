"""Faults that a run must survive: a few of each in `make test`, many in `make chaos`, which sets CHAOS (as
`make processes` does, for other tests)."""

import os

CHAOS = bool(os.environ.get("CHAOS"))
