"""A run goes on with other devices or another mesh: the same batches in the same order, losses equal to rounding."""

import numpy as np
import pytest

from cloze.training.checkpoint import Checkpoints
from tests.faults import CHAOS
from tests.training import tiny_run

# Each the mesh of two steps, one after the other: 8 devices, 1, 4.
WAY = [dict(data=4, fsdp=2), dict(data=1), dict(tensor=2, sequence=2)]
EVERY_AXIS = [dict(data=8), dict(data=1), dict(fsdp=4), dict(tensor=4), dict(sequence=4), dict(fsdp=8), dict(data=2)]
FAMILIES = {"gpt2": [WAY, EVERY_AXIS], "bert": [WAY, EVERY_AXIS], "t5": [WAY, EVERY_AXIS]}
CASES = [(family, way) for family, ways in FAMILIES.items() for way in ways]


def program_of(family, root, sizes):
    changes = {f"mesh__{axis}": size for axis, size in {"data": 1, **sizes}.items()}
    return tiny_run.build(
        tiny_run.config(family, root, model__layers=1, **changes), devices=int(np.prod(list(sizes.values())))
    )


def rows_of(program, step):
    rows = program.run.rows(program.run.data["train"], step)
    return {name: np.asarray(array) for name, array in rows.items()}


@pytest.mark.skipif(not CHAOS, reason="a part of `make processes`; test_sharding.py has the meshes")
@pytest.mark.parametrize("family, way", CASES)
def test_from_mesh_to_mesh_a_run_stays_the_same(family, way, root, tmp_path):
    alone = program_of(family, root, dict(data=1))
    _, expected = tiny_run.run(alone, 2 * len(way))
    history, checkpoints = [], Checkpoints(tmp_path / "checkpoints")
    for part, sizes in enumerate(way):
        program, start = program_of(family, root, sizes), 2 * part
        for step in (start, start + 1):
            for name, rows in rows_of(alone, step).items():
                np.testing.assert_array_equal(rows_of(program, step)[name], rows, err_msg=f"{name} on {sizes}")
        state = program.restore(checkpoints, start) if start else None
        state, some = tiny_run.run(program, 2, state, start)
        history += some
        checkpoints.save(start + 2, program.saved_parameters(state), state.opt_state, program.run.facts())
        checkpoints.wait()
    checkpoints.close()
    for step, (got, want) in enumerate(zip(history, expected, strict=True)):
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (way[step // 2], step, name)
