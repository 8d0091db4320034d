"""Slices by name: how many hosts they have, and what does not exist."""

import math

import pytest

from cloze.errors import ConfigError
from cloze.launchers import tpus


@pytest.mark.parametrize(
    "name, topology, hosts, accelerator_type",  # as Google's tables have them
    [
        ("v4", "2x2x1", 1, "v4-8"),
        ("v4", "4x4x4", 16, "v4-128"),
        ("v5e", "1x1", 1, "v5litepod-1"),
        ("v5e", "2x4", 1, "v5litepod-8"),
        ("v5e", "16x16", 64, "v5litepod-256"),
        ("v5p", "8x8x16", 256, "v5p-2048"),
        ("v6e", "4x8", 8, "v6e-32"),
        ("tpu7x", "2x2x1", 1, "tpu7x-8"),
        ("tpu7x", "4x4x4", 16, "tpu7x-128"),
    ],
)
def test_a_slice_has_the_hosts_of_the_tables(name, topology, hosts, accelerator_type):
    found = tpus.find(name, topology)
    assert (found.hosts, found.accelerator_type) == (hosts, accelerator_type)
    assert found.hosts * found.chips_per_host == found.chips == math.prod(map(int, topology.split("x")))


def test_a_slice_of_eight_may_lie_on_two_hosts():
    assert tpus.find("v6e", "2x4", chips_per_host=4).hosts == 2
    with pytest.raises(ConfigError, match="a host of v6e 4x4 has 4"):
        tpus.find("v6e", "4x4", chips_per_host=8)


@pytest.mark.parametrize("name", tpus.GENERATIONS)
def test_large_slices_are_made_of_cubes(name):
    generation = tpus.GENERATIONS[name]
    made = [tuple(map(int, topology.split("x"))) for topology in generation.topologies[len(generation.listed) :]]
    assert (made == []) == (generation.most == 0)
    for sides in made:
        assert sorted(sides) == list(sides) and all(side % 4 == 0 for side in sides)
        assert 64 < math.prod(sides) <= generation.most
    assert generation.most == 0 or {(4, 4, 8), (8, 8, 8), (12, 16, 16)} <= set(made)


@pytest.mark.parametrize(
    "name, topology, words",
    [
        ("v5e", "4x5", "did you mean '4x[48]'"),
        ("v5p", "8x4x4", "did you mean '.*'.*multiples of 4, A <= B <= C"),
        ("v5p", "4x4", "does not exist for v5p"),
        ("v4", "16x16x32", "up to 4096 chips"),
        ("v5p", "", "needs job.topology"),
        ("v5", "4x4", "did you mean 'v5[ep]'"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(name, topology, words):
    with pytest.raises(ConfigError, match=words):
        tpus.find(name, topology)


def test_the_cloud_tpu_api_has_no_tpu7x_and_one_topology_for_each_size():
    with pytest.raises(ConfigError, match="does not serve tpu7x: use job.backend=jobset"):
        tpus.find_vm("tpu7x", "2x2x1")
    with pytest.raises(ConfigError, match="v5p-1024 as 8x8x8, not as 4x8x16"):
        tpus.find_vm("v5p", "4x8x16")
    assert tpus.find_vm("v5p", "8x8x8").accelerator_type == "v5p-1024"
