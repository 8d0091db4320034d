"""Every experiment, at full size, fits the accelerators of 80 GB that it is meant for, by estimate."""

import pytest

from cloze.configs import catalog
from cloze.parallel import topologies
from cloze.training import plans
from tests.faults import CHAOS

SAMPLE = [("bert", "size=large")]
EVERY = [pair for pair in catalog.full_sizes() if pair[0] not in catalog.NEEDS_A_RUN]


def test_all_sizes_are_planned():
    assert {stem for stem, _ in EVERY} == set(catalog.STEMS) - set(catalog.NEEDS_A_RUN)
    assert len(EVERY) == len(set(EVERY)) and {("llama", "size=3.1_405b"), ("bert", "size=large,length=512")} < {*EVERY}


@pytest.mark.parametrize("stem, arguments", EVERY if CHAOS else SAMPLE)
def test_it_fits(stem, arguments):
    config = catalog.load(stem, arguments)
    made = plans.make(config, topologies.parse(f"h100:{config.devices}"), compiles=False)
    assert made.spare >= 0, f"{-made.spare / plans.GIB:.1f} GiB too much"
    assert made.time.seconds > 0 and made.mfu < 0.8
    assert made.estimate.peak > 4 * made.settings["parameters"] / config.devices
