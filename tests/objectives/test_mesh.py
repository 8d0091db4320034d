"""Where rows lie changes neither what is hidden nor, by talk between devices, the time it takes."""

import jax
import numpy as np
import pytest

from cloze import objectives
from cloze.parallel import mesh as meshes

# Rows lie along the first two axes alike, and are whole along the last two alike: either is enough for most.
CUT = dict(data=4, fsdp=1, tensor=1, sequence=2)
MIXED = dict(data=1, fsdp=2, tensor=2, sequence=2)


@pytest.mark.parametrize("name, sizes", [*((name, MIXED) for name in objectives.OBJECTIVES), ("masked_lm", CUT)])
def test_corruption_is_the_same_on_any_mesh_and_stays_local(build, name, sizes):
    objective = build(name, data__sequence_length=16)
    shape = (8, objective.rows.length)
    tokens = np.random.default_rng(0).integers(6, 32, shape, dtype=np.int32)
    rows = {"tokens": tokens, **dict.fromkeys(("row", "row_id"), np.arange(8, dtype=np.int32))}
    if objective.rows.kind == "examples":
        rows |= {"segments": np.ones_like(tokens), "labels": np.arange(8, dtype=np.int32) % 3}
        rows |= {"decoder_tokens": tokens, "targets": tokens, "target_weights": np.ones(shape, np.float32)}
    if objective.rows.kind == "cooccurrences":
        rows |= {"contexts": tokens[:, ::-1].copy(), "counts": tokens.astype(np.float32)}
    if objective.rows.kind == "pairs":
        halves = np.broadcast_to(np.arange(16, dtype=np.int32) // 8, shape)
        rows |= {"segments": np.ones_like(tokens), "token_types": halves, "labels": np.arange(8, dtype=np.int32) % 2}
    if objective.rows.flags:
        rows["flags"] = tokens % 8
    key = jax.random.key(0)
    expected = jax.jit(objective.corrupt)(key, rows)

    mesh = meshes.make_mesh(sizes, jax.devices()[:8])
    by_row = meshes.row_sharding(mesh)
    compiled = jax.jit(objective.corrupt, out_shardings=by_row).lower(key, jax.device_put(rows, by_row)).compile()
    batch = compiled(jax.device_put(key, meshes.replicated(mesh)), jax.device_put(rows, by_row))
    for field, array in expected.items():
        np.testing.assert_array_equal(array, batch[field])
    program = compiled.as_text()
    assert "all-gather" not in program and "all-reduce" not in program and "collective-permute" not in program
