"""Kernels for devices that are not here: compiled for a TPU by libtpu, lowered for an NVIDIA GPU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from cloze.models import random_bits
from cloze.models.attention import attention
from cloze.models.backends import choice
from cloze.models.inputs import Visibility
from cloze.parallel import mesh as meshes

B, T, H, K, E = 4, 256, 4, 2, 64


def loss(given, *, rule, dropout, backend="auto"):
    segments, ranks = given.get("segments"), given.get("ranks")
    seen = Visibility(query_segments=segments, key_segments=segments, query_ranks=ranks, key_ranks=ranks, **rule)
    key = random_bits.key(0, "counter") if dropout else None
    options = dict(bias=given.get("bias"), scale=0.125, dropout=dropout, key=key, backend=backend)
    return attention(given["q"], given["k"], given["v"], seen, **options).astype(jnp.float32).sum()


def described(mesh, segments=False, ranks=False, bias=False, dtype=jnp.bfloat16):
    """Arrays of bfloat16, as they lie on a mesh; None: on no devices in particular."""

    def one(shape, dtype, *axes):
        if mesh is None:
            return jax.ShapeDtypeStruct(shape, dtype)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    wide = {
        name: one((B, T, heads, E), dtype, meshes.ROW_AXES, None, "tensor")
        for name, heads in zip("qkv", (H, K, K), strict=True)
    }
    more = {"segments": segments, "ranks": ranks}
    more = {name: one((B, T), jnp.int32, meshes.ROW_AXES) for name, there in more.items() if there}
    return {**wide, **more, **({"bias": one((1, H, T, T), jnp.float32, None, "tensor")} if bias else {})}


def lowered(arrays, dropout=0.0, platforms=None, **rule):
    """(lowered gradient, the choice of its backend)."""
    function = functools.partial(loss, rule=rule, dropout=dropout)
    floats = lambda given: {n: x for n, x in given.items() if x.dtype != jnp.int32}  # noqa: E731
    gradient = jax.jit(lambda given: jax.value_and_grad(lambda own: function({**given, **own}))(floats(given)))
    with choice.recorded() as choices:
        traced = gradient.trace(arrays)
    return traced.lower(lowering_platforms=platforms), choices[0]


@pytest.fixture(scope="module")
def tpu():
    """A mesh of four TPUs that nobody has."""
    pytest.importorskip("libtpu", reason="compiling for a TPU needs libtpu: pip install -e .[plan]")
    patch = pytest.MonkeyPatch()
    for name, value in dict(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost").items():
        patch.setenv(name, value)
    patch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")  # other processes may be compiling, too
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    yield meshes.make_mesh(dict(data=2, fsdp=1, tensor=2, sequence=1), devices)
    patch.undo()


@pytest.mark.parametrize(
    "options, backend",
    [
        (dict(segments=True), "splash"),
        (dict(segments=True, bias=True, dropout=0.1), "flash"),
        (dict(segments=True, ranks=True, window=65), "flash"),
    ],
)
def test_compiles_for_a_tpu(tpu, options, backend):
    arrays = described(tpu, **{n: options.pop(n) for n in ("segments", "ranks", "bias") if n in options})
    with jax.set_mesh(tpu), nn.logical_axis_rules(meshes.RULES):
        program, chosen = lowered(arrays, **options)
        assert chosen.backend == backend
        text = program.compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 3  # forward, gradient of queries, of keys and values
    scores = B // 2 * (H // 2) * T * T
    sizes = [np.prod([int(n) for n in part.split("]")[0].split(",") if n.isdigit()]) for part in text.split("f32[")[1:]]
    assert max(sizes) < scores or options.get("bias")


@pytest.mark.parametrize(
    "options, call",
    [
        ({}, "__cudnn$fmhaSoftmax"),
        (dict(causal=True, window=128), "__cudnn$fmhaSoftmax"),
        (dict(bias=True), "__cudnn$fmhaScaleBiasSoftmax"),
    ],
)
def test_lowers_to_cudnn(monkeypatch, options, call):
    """On a machine that says it had a GPU and cuDNN."""
    from jax._src.cudnn import fused_attention_stablehlo as library

    monkeypatch.setattr(library, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(choice, "devices", lambda: ("gpu", (9, 0)))
    arrays = described(None, bias=options.pop("bias", False))
    program, _ = lowered(arrays, platforms=("cuda",), **options)
    text = program.as_text()
    assert f"@{call}(" in text and f"@{call}Backward(" in text
    assert ("sliding_window_length\\22: 128" in text) == (options.get("window") == 128)


@pytest.mark.parametrize(
    "options", [dict(segments=True, bias=True, dropout=0.1), dict(ranks=True, window=65)], ids=["bias", "ranks"]
)
def test_lowers_to_triton(options):
    """For one H100 that there is in name only."""
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="cuda")
    axis_types = (AxisType.Auto,) * len(meshes.MESH_AXES)
    mesh = AbstractMesh((1,) * len(meshes.MESH_AXES), meshes.MESH_AXES, axis_types=axis_types, abstract_device=device)
    arrays = described(mesh, **{n: options.pop(n) for n in ("segments", "ranks", "bias") if n in options})
    with jax.sharding.use_abstract_mesh(mesh):
        program, chosen = lowered(arrays, platforms=("cuda",), **options)
    assert chosen.backend == "flash"
    assert program.as_text().count("__gpu$xla.gpu.triton") == 3
