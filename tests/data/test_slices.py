"""Each of several processes reads its slice of a batch and no more, counted in the records of the corpus."""

import numpy as np
import pytest

from cloze.configs import base
from cloze.data import corpus
from cloze.data.batches import Batches
from cloze.data.order import Epochs
from cloze.data.rows import Documents, Windows
from cloze.parallel import mesh as meshes
from tests.data import fakes

STEPS, ROWS = 4, 32


class OfProcess:
    """A sharding as process `number` of `count` sees it: the devices of all are dealt out in their order."""

    def __init__(self, sharding, number, count):
        self._sharding, self._number, self._count = sharding, number, count

    def addressable_devices_indices_map(self, shape):
        indices = self._sharding.devices_indices_map(shape)
        own = np.array_split(sorted(indices, key=lambda device: device.id), self._count)[self._number]
        return {device: indices[device] for device in own}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Four parts of some 90 records each, of documents of 900 tokens."""
    tokens = np.random.default_rng(0).integers(1, 60_000, size=(400, 900))
    documents = [[row] for row in tokens]
    return fakes.prepare(documents, tmp_path_factory.mktemp("corpus"), part_tokens=90 * corpus.BLOCK).split("train")


def read(train, spec, places, monkeypatch):
    """(records read, the rows of each step at some places of the batch)."""
    records, read_blocks = [], corpus.TokenStream._read_blocks

    def counted(stream, number, blocks):
        records.append(len(blocks))
        return read_blocks(stream, number, blocks)

    monkeypatch.setattr(corpus.TokenStream, "_read_blocks", counted)
    source = spec.plan(train)
    order = Epochs([source.num_rows], [1.0], seed=0, size=ROWS, shuffle=True)
    steps = [Batches([source], order).batches(step, places) for step in range(STEPS)]
    monkeypatch.undo()
    return sum(records), steps


@pytest.mark.parametrize("spec", [Windows(length=512), Documents(length=1024)])
@pytest.mark.parametrize("axes", [{"data": 8}, {"data": 2, "fsdp": 4}, {"data": 4, "tensor": 2}])
def test_two_processes_read_half_each(axes, spec, train, monkeypatch):
    config = base.get_base().mesh
    config.update({"data": 1} | axes)
    sharding = meshes.row_sharding(meshes.make_mesh(config))
    whole, every = read(train, spec, None, monkeypatch)
    mine = [meshes.my_rows(OfProcess(sharding, number, 2), ROWS) for number in range(2)]
    np.testing.assert_array_equal(np.sort(np.concatenate(mine)), np.arange(ROWS))
    for places in mine:
        records, steps = read(train, spec, places, monkeypatch)
        assert 0.4 * whole < records < 0.6 * whole, (records, whole)
        for step, batch in zip(steps, every, strict=True):
            for name, array in step.items():
                np.testing.assert_array_equal(array, batch[name][places])
