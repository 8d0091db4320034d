"""Any mesh computes what one device computes."""

import dataclasses

import jax
import numpy as np
import pytest

from cloze.configs import base
from cloze.errors import ConfigError
from cloze.models import axes
from cloze.parallel import mesh as meshes
from tests.faults import CHAOS
from tests.training import tiny_run

MESHES = {  # the gradients of all families are in tests/models/test_every_family.py
    "gpt2": [dict(data=2, fsdp=2, tensor=2), dict(data=1, fsdp=1, tensor=4, sequence=2)],
    "t5": [dict(data=2, fsdp=2, tensor=1, sequence=2)],
}
if CHAOS:
    MESHES["bert"] = [dict(data=1, fsdp=4, tensor=2)]


@pytest.mark.parametrize("family", MESHES)
def test_eight_devices_equal_one(family, root):
    expected = None
    for mesh in [dict(data=1), *MESHES[family]]:
        changes = {f"mesh__{axis}": size for axis, size in mesh.items()}
        program = tiny_run.build(tiny_run.config(family, root, **changes), devices=int(np.prod(list(mesh.values()))))
        state, history = tiny_run.run(program, 3)
        parameters = tiny_run.parameters(program, state)
        if expected is None:
            expected = history, parameters
            continue
        for got, want in zip(history, expected[0], strict=True):
            for name, value in want.items():
                assert got[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (mesh, name)
        # Adam divides by a root that is near 0 where a gradient is: rounding shows most there.
        for name, value in expected[1].items():
            assert np.abs(parameters[name] - value).max() < 2e-3, (mesh, name)
            assert np.abs(parameters[name] - value).mean() < 1e-5, (mesh, name)


def test_parameters_and_optimizer_are_born_sharded(root):
    config = tiny_run.config("gpt2", root, mesh__data=2, mesh__fsdp=2, mesh__tensor=2)
    program = tiny_run.build(config, devices=8)
    state = program.new_state()
    kernel = state.trainable["decoder"]["layers"]["ffn"]["up"]["kernel"]
    assert kernel.shape == (2, 32, 64) and kernel.addressable_shards[0].data.shape == (2, 16, 32)
    mu = state.opt_state[1][0].mu["decoder"]["layers"]["ffn"]["up"]["kernel"]
    assert mu.sharding == kernel.sharding
    table = state.trainable["token"]["embedding"]
    assert table.addressable_shards[0].data.shape == (132, 16)


def test_factored_moments_follow_their_parameter(root):
    config = tiny_run.config(
        "t5", root, optimizer__name="adafactor", model__width=128, model__ffn=256, mesh__data=1, mesh__fsdp=4,
        mesh__tensor=2,
    )  # fmt: skip
    program = tiny_run.build(config, devices=8)
    state = program.abstract_state.opt_state
    moments = next(
        leaf
        for leaf in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, dict))
        if isinstance(leaf, dict) and "encoder/layers/ffn/up/kernel" in leaf
    )["encoder/layers/ffn/up/kernel"]
    placed = {leaf.shape: leaf.sharding.spec for leaf in jax.tree.leaves(moments) if leaf.ndim == 2}
    assert placed[(2, 128)] == jax.sharding.PartitionSpec(None, "fsdp")
    assert placed[(2, 256)] == jax.sharding.PartitionSpec(None, "tensor")


def test_every_logical_name_is_in_the_table():
    assert {name for name, _ in meshes.RULES} == axes.NAMES
    with pytest.raises(ValueError, match="hedas"):
        axes.constrain(np.zeros((2, 3)), axes.BATCH, "hedas")


def test_mesh_takes_what_is_left():
    assert meshes.mesh_shape(dict(data=-1, fsdp=2, tensor=2, sequence=1), 8) == (2, 2, 2, 1)
    for sizes in (dict(data=3), dict(data=-1, fsdp=3), dict(data=-1, fsdp=-1), dict(data=0)):
        with pytest.raises(ConfigError, match="mesh"):
            meshes.mesh_shape({"data": 1, "fsdp": 1, "tensor": 1, "sequence": 1, **sizes}, 8)


def test_a_process_reads_only_the_rows_of_its_devices():
    mesh = meshes.make_mesh(dict(data=4, fsdp=1, tensor=2, sequence=1))
    sharding = meshes.row_sharding(mesh)
    np.testing.assert_array_equal(meshes.my_rows(sharding, 8), np.arange(8))
    rows = {"tokens": np.arange(24).reshape(8, 3)}
    placed = meshes.to_devices(rows, sharding)["tokens"]
    np.testing.assert_array_equal(placed, rows["tokens"])
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}


@pytest.mark.parametrize(
    "changes, word",
    [
        (dict(train__batch_size=6, mesh__data=4), "batch_size"),
        (dict(train__microbatches=3), "microbatches"),
        (dict(data__sequence_length=31, mesh__sequence=2), "sequence_length"),
        (dict(model__heads=4, mesh__tensor=8, model__head_dim=8), "heads"),
    ],
)
def test_sizes_that_do_not_divide_are_named(changes, word, root):
    from cloze import models

    config = tiny_run.config("gpt2", root, **changes)
    with pytest.raises(ConfigError, match=word):
        meshes.check_sizes(config, models.resolve(config.model), [max(1, config.mesh[a]) for a in meshes.MESH_AXES])


@pytest.mark.parametrize("family", ["lstm", "elmo", "glove", "skip_gram"])
def test_what_a_model_has_not_need_not_divide(family):
    """LSTMs have no heads, word vectors not even layers."""
    from cloze import models

    config = base.get_base()
    config.train.batch_size = 8
    config.model.update(family=family, preset="base", width=300)
    sizes = dict(data=1, fsdp=2, tensor=2, sequence=2)
    meshes.check_sizes(config, models.resolve(config.model), tuple(sizes.values()))
    if family in ("lstm", "elmo"):
        config.model.ffn = 33
        with pytest.raises(ConfigError, match="model.ffn=33"):
            meshes.check_sizes(config, models.resolve(config.model), tuple(sizes.values()))


def test_a_part_whose_size_does_not_divide_is_named(root):
    changes = dict(
        objective__name="replaced_tokens", model__width=36, model__head_dim=9,
        objective__generator_width=0.25, mesh__data=1, mesh__fsdp=2,
    )  # fmt: skip
    with pytest.raises(
        ConfigError, match="the generator's width=9 does not divide by mesh.fsdp=2: change mesh.fsdp, or"
    ):
        tiny_run.build(tiny_run.config("bert", root, **changes), devices=2)


@dataclasses.dataclass(frozen=True)
class OfSlice:
    """A device of one of several slices, as far as a mesh looks at it."""

    id: int
    slice_index: int
    process_index: int = 0
    platform: str = "cpu"
    device_kind: str = "cpu"


@pytest.mark.parametrize("sizes", [dict(data=4, fsdp=2), dict(data=2, fsdp=2, tensor=2), dict(data=-1, sequence=4)])
@pytest.mark.parametrize("known", [True, False])
def test_data_goes_over_slices_and_everything_else_stays_within_one(sizes, known):
    """Whether the devices say which slice they are of, or those that follow each other are one."""
    sizes = {**dict.fromkeys(meshes.MESH_AXES, 1), **sizes, "slices": 2}
    devices = jax.devices()
    if known:  # in any order
        devices = [OfSlice(number, slice_index) for number in (3, 0, 2, 1) for slice_index in (1, 0)]
    arranged = meshes._arranged(meshes.mesh_shape(sizes, 8), devices, 2)
    slices = np.vectorize(lambda d: d.slice_index if known else d.id // 4)(arranged)
    half = len(slices) // 2
    assert (slices[:half] == 0).all() and (slices[half:] == 1).all()
    assert len({(d.id, getattr(d, "slice_index", 0)) for d in arranged.flat}) == 8
    if not known:
        assert (meshes.make_mesh(sizes).devices == arranged).all()


def test_slices_that_do_not_fit_are_refused():
    sizes = dict(data=2, fsdp=4, tensor=1, sequence=1)
    with pytest.raises(ConfigError, match="mesh.data=2 does not go over 4 slices.*multiple of 4"):
        meshes.make_mesh({**sizes, "slices": 4})
    of_two = [OfSlice(number, number // 4) for number in range(8)]
    with pytest.raises(ConfigError, match="mesh.slices=4, but the devices are of 2 slices"):
        meshes._arranged((4, 2, 1, 1), of_two, 4)
    with pytest.raises(ConfigError, match="no axis of the mesh goes over 3 slices"):
        meshes._arranged((4, 2, 1, 1), [OfSlice(number, number % 3) for number in range(8)], 0)
    assert meshes._arranged((1, 8, 1, 1), of_two, 0).shape == (1, 8, 1, 1)  # as a user has chosen
