"""Plans: topologies, what is read from compiled programs, estimates, budgets, and the verb's messages."""

import copy
import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cloze.errors import ConfigError
from cloze.parallel import chips, collectives, compute, cost, flow, hlo, roofline, topologies
from cloze.parallel import mesh as meshes
from cloze.parallel.memory import Estimate
from cloze.training import plan_picture, plan_search, planning, plans
from tests import verbs
from tests.training import tiny_run


@pytest.fixture(scope="module")
def layered():
    """(compiled program, mesh) of five layers in a loop, cut over fsdp 4 and tensor 2: x [16, 32], w [5, 32, 64]."""
    mesh = meshes.make_mesh(dict(data=1, fsdp=4, tensor=2, sequence=1), jax.devices()[:8])

    def loss(w, x):
        def layer(x, w):
            return jnp.tanh(x @ w) @ w.T, None

        return jnp.sum(jax.lax.scan(layer, x, w)[0])

    place = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))  # noqa: E731
    w = jax.ShapeDtypeStruct((5, 32, 64), jnp.float32, sharding=place(None, "fsdp", "tensor"))
    x = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=place("fsdp", None))
    step = jax.jit(jax.value_and_grad(loss), out_shardings=(place(), place(None, "fsdp", "tensor")))
    traced = step.trace(w, x)
    return traced, hlo.Module(traced.lower().compile().as_text()), mesh


def test_products_of_a_loop_count_as_often_as_it_runs(layered):
    traced, module, _ = layered
    total = sum(times * module.flops(name, one) for name, one, times in module.instructions())
    assert total == cost.count_flops(traced.jaxpr) / 8
    assert 5 in module.runs.values()


def test_collectives_have_their_axis_bytes_and_count(layered):
    _, module, mesh = layered
    found = collectives.of(module, dict(mesh.shape))
    gathers = [one for one in found if one.kind == "all-gather" and one.axes == ("fsdp",)]
    # Each layer's kernel, 32 x 64 cut over tensor, is gathered over fsdp at least once in each direction.
    assert sum(one.bytes * one.times for one in gathers) >= 2 * 5 * 32 * 64 // 2 * 4
    assert any(one.axes == ("tensor",) and one.kind == "all-reduce" and one.times >= 5 for one in found)
    for one in found:
        assert len(one.members) == np.prod([mesh.shape[axis] for axis in one.axes])


@pytest.mark.parametrize(
    "attributes, members",
    [
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, x=1", (0, 4)),
        ("replica_groups=[4,2]<=[2,4]T(1,0), x=1", (0, 4)),
        ("replica_groups=[2,4]<=[8], x=1", (0, 1, 2, 3)),
        ("replica_groups={{0,2},{1,3}}, x=1", (0, 2)),
        ("replica_groups={}, x=1", tuple(range(8))),
    ],
)
def test_groups_in_all_their_forms(attributes, members):
    assert collectives._members(attributes, 8) == members


def test_bytes_sent_by_rings():
    one = collectives.Collective("all-reduce", ("fsdp",), tuple(range(4)), 100.0, 1)
    assert one.sent == 150 and collectives.Collective("all-gather", (), (0, 1, 2, 3), 100.0, 1).sent == 75
    slow = collectives.Route(within=4, across=2, fast=1e9, slow=1e6)
    assert slow.seconds(collectives.Collective("all-reduce", (), tuple(range(8)), 1e6, 1)) == pytest.approx(
        1.5e6 / 1e9 + 0.25e6 / 1e6
    )


def test_a_convolution_with_filling_counts_what_meets_values():
    """TPUs have batches of products as dilated convolutions, most of whose places hold nothing."""
    text = """ENTRY %main (a: f32[4,8,6], b: f32[4,6,5]) -> f32[4,8,5] {
  %a = f32[4,8,6]{2,1,0} parameter(0)
  %b = f32[4,6,5]{2,1,0} parameter(1)
  ROOT %c = f32[4,8,5]{2,1,0} convolution(%a, %b), window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0io->0bf
}"""
    module = hlo.Module(text)
    assert sum(module.flops(name, one) for name, one, _ in module.instructions()) == 2 * 4 * 8 * 6 * 5


@pytest.mark.parametrize(
    "text, message",
    [
        ("v5x:4x4", "did you mean"),
        ("v5p", "no topology"),
        ("v5p:4x4", "has 3 axes, as v5p:4x4x4"),
        ("v5e:0x4", "may be 0"),
        ("v5e:32x32", "at most 256"),
    ],
)
def test_topologies_that_are_none(text, message):
    with pytest.raises(ConfigError, match=message):
        topologies.parse(text)


def test_topologies_count_their_devices():
    assert topologies.parse("v5p:8x8x16").devices == 1024 and topologies.parse("v5e:4x4*2").chips == 32
    assert topologies.parse("v4:2x2x2").devices == 16 and topologies.parse("h100:8").platform == "gpu"
    assert topologies.parse("h100:8").compiler == topologies.parse("cpu:8").platform == "cpu"
    assert chips.of_kind("TPU v5 lite").name == "v5e" and chips.of_kind("TPU v5").name == "v5p"
    assert chips.of_kind("NVIDIA H100 80GB HBM3").name == "h100" and chips.of_kind("cpu") is None


def test_libtpu_that_is_missing_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[plan\]'"):
        topologies.need_libtpu(topologies.parse("v5e:4x4"))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_run.config("gpt2", tmp_path_factory.mktemp("none"), model__scan=True, model__layers=4)


@pytest.fixture(scope="module")
def planned(config):
    return planning.on_one_device(config, topologies.parse("cpu:8"))


def test_state_is_exact_on_any_mesh(config, planned):
    """Parameters and optimizer against the shards of arrays on that mesh."""
    sizes = dict(data=1, fsdp=4, tensor=2, sequence=1)
    whole = planned.estimator(dict.fromkeys(meshes.MESH_AXES, 1))
    cut = planned.estimator(sizes)
    config = plan_search.apply(config, types.SimpleNamespace(mesh=sizes, microbatches=1, remat="none", dtype="float32"))
    state = planning.planned(config, topologies.parse("cpu:8")).program.abstract_state

    def held(tree):
        return sum(np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree))

    assert cut.parameters == held(state.trainable) and cut.optimizer == held(state.opt_state)
    assert cut.parameters < whole.parameters / 4 and cut.activations < whole.activations / 2


def test_memory_is_near_the_compiled_programs(planned):
    """On a CPU, which keeps more than an accelerator does, the estimate is low: docs/scaling.md."""
    analysis = planned.compile().memory_analysis()
    compiled = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    assert 0.6 < planned.estimator(dict.fromkeys(meshes.MESH_AXES, 1)).peak / compiled < 1.2


def test_the_last_dimensions_fill_tiles():
    """Of a TPU's memory, [256, 16, 512, 1] numbers that a kernel reads take 128 times what they are."""
    narrow = flow.Value((256, 16, 512, 1), 4, [("fsdp",), ("tensor",), (), ()])
    mesh = {"fsdp": 4, "tensor": 2}
    plain = 256 * 16 * 512 * 4 / 8
    assert narrow.bytes(mesh) == narrow.bytes(mesh, tile=(8, 128)) == plain
    narrow.rigid = True
    assert narrow.bytes(mesh, tile=(8, 128)) == 128 * plain
    assert flow.Value((3, 100), 2, [(), ()]).bytes({}, tile=(8, 128)) == 8 * 128 * 2


def test_what_runs_on_each_device_by_itself_counts_as_it_is():
    mesh = meshes.make_mesh(dict(data=4, fsdp=1, tensor=1, sequence=1), jax.devices()[:4])
    spec = PartitionSpec("data")
    local = jax.shard_map(lambda x: jnp.sin(x).T @ x, mesh=mesh, in_specs=spec, out_specs=PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=NamedSharding(mesh, spec))
    traced = flow.Flow(jax.jit(lambda x: local(x) * 2).trace(x).jaxpr.jaxpr)
    traced.inputs[0].place([("data",), ()])
    traced.spread()
    (cut,) = [one for one in traced.operations if one.name == "shard_map"]
    assert cut.bodies[0].inputs[0].shape == (16, 32) and cut.outputs[0].bytes(dict(mesh.shape)) == 32 * 32 * 4


def test_a_step_far_too_large_is_not_compiled(config):
    large = changed(config, batch_size=2**20)
    made = plans.make(large, topologies.parse("v5e:1x1"))
    assert made.refused and made.compiled is None and any("does NOT fit" in line for line in made.lines())


def test_a_line_warns_of_what_may_not_fit():
    estimate = Estimate(parameters=2.0**20, optimizer=0.0, gradients=0.0, activations=2.0**20)
    assert estimate.line(2.0**20).endswith("peak 2 of 1: it may not fit")
    assert estimate.line(2.0**21).endswith("peak 2 of 2")


def changed(config, **settings):
    """The configuration with other settings of `model` and `train`."""
    config = copy.deepcopy(config)
    for name, value in settings.items():
        (config.train if name in ("microbatches", "batch_size") else config.model)[name] = value
    return config


def test_recomputing_and_microbatches_save_memory(config):
    tried = [changed(config, remat=remat) for remat in ("none", "dots", "full")] + [changed(config, microbatches=4)]
    found = plan_search.candidates(config, topologies.parse("v5e:1x1"), tried, report=lambda line: None)
    peaks = {(one.remat, one.microbatches): one.estimate.peak for one in found}
    assert peaks["full", 1] < peaks["dots", 1] < peaks["none", 1]
    assert peaks["none", 4] < peaks["none", 1]
    seconds = [one.seconds for one in plan_search.fastest(found, max(peaks.values()))]
    assert len(seconds) == len(found) and seconds == sorted(seconds)
    time = {(one.remat, one.microbatches): one.seconds for one in found}
    assert time["none", 1] < time["dots", 1] < time["full", 1]  # what is computed again takes time
    least = min(peaks.values())
    assert all(one.estimate.peak <= least for one in plan_search.fastest(found, least))
    lines = plan_search.advice(config, topologies.parse("v5e:1x1"), 1.0, found)
    assert "Nothing fits" in lines[0]


def test_what_is_tried_divides_and_saves_memory(config):
    tried = [
        (one.model.remat, one.train.microbatches, one.model.dtype)
        for one in plan_search.variants(config, topologies.parse("cpu:1"))
    ]
    assert len(set(tried)) == len(tried) == 3 * 5  # 16 rows: 1 to 16 microbatches
    topology = topologies.parse("cpu:2")
    few = [(one.model.remat, one.train.microbatches, one.model.dtype) for one in plan_search.savers(config, topology)]
    assert few[0] == ("none", 1, "float32") and ("none", 2, "bfloat16") in few and ("full", 2, "float32") in few
    assert {count for _, count, _ in few} == {1, 2, 4, 8} and ("full", 2, "bfloat16") not in few
    odd = changed(config, batch_size=2 * 77)
    assert {one.train.microbatches for one in plan_search.savers(odd, topology)} == {1, 7, 11, 77}


def test_a_search_adds_no_microbatches_to_what_fits_and_is_fastest(config):
    found = plan_search.candidates(config, topologies.parse("v5e:1x1"), report=lambda line: None)
    assert [(one.remat, one.microbatches) for one in found] == [("none", 1), ("dots", 1), ("full", 1)]


def test_meshes_of_several_slices_go_over_them(config):
    two = topologies.parse("v5e:1x2*2")
    asked = copy.deepcopy(config)
    asked.mesh.slices = 2
    assert {mesh["data"] for mesh in plan_search.meshes_for(asked, two)} == {2, 4}
    assert {"data": 1, "fsdp": 1, "tensor": 4, "sequence": 1} in [*plan_search.meshes_for(config, two)]


def test_running_out_of_memory_is_one_message_that_ranks_what_to_change(config, planned):
    small = changed(config, batch_size=2, remat="dots", dtype="bfloat16")
    run = types.SimpleNamespace(config=small, mesh=planned.program.run.mesh)
    message = str(plan_search.out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), run))
    assert "Out of memory allocating 9 bytes" in message and "--config.model.remat=full" in message
    assert plan_search.out_of_memory(RuntimeError("INTERNAL: something else"), run) is None


@pytest.fixture(scope="module")
def made(config):
    return plans.make(config, topologies.parse("v5e:2x4"), compiles=False, tokens=1e6, price=2.0)


def test_a_plan_without_compiling(made):
    found = json.loads(json.dumps(made.to_dict()))
    assert (
        found["fits"]
        and found["cost"] == 2 * found["chip_hours"]
        and found["chip_hours"] == pytest.approx(8 * 24 * found["days"])
    )
    assert found["mesh"] == {"data": 8, "fsdp": 1, "tensor": 1, "sequence": 1}
    assert 0 < found["mfu"] < 1 and any("fits" in line for line in made.lines())


def test_a_pictures_bars_add_up(made):
    bars = plan_picture.memory_bars(made)
    assert sum(bars["estimate"].values()) * plans.GIB == pytest.approx(made.estimate.peak)
    assert sum(plan_picture.time_parts(made).values()) == pytest.approx(made.time.seconds)
    sizes = {"arguments": 3 * plans.GIB, "temporaries": 1.0, "peak": 5 * plans.GIB}
    compiled = dataclasses.replace(made, compiled=sizes)
    assert sum(plan_picture.memory_bars(compiled)["compiled"].values()) == pytest.approx(5)


def test_a_picture_is_drawn(made, tmp_path):
    pytest.importorskip("matplotlib")
    plan_picture.draw([made, made], tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("path, message", [("plan.txt", "is a .png"), ("nowhere/plan.png", "there is no folder")])
def test_a_picture_that_cannot_be_written_is_refused(path, message):
    with pytest.raises(ConfigError, match=message):
        plan_picture.check(path)


def test_a_run_is_bound_by_what_takes_longest():
    time = roofline.Roofline(1.0, 0.5, {"fsdp": 1.0, "tensor": 0.2}, 1.0)
    assert time.seconds == 1.7 and time.bound == "matrix products"
    assert roofline.Roofline(1.0, 0.5, {"fsdp": 9.0}, 1.0).bound == "the network"


def test_budgets_are_spent_as_published():
    assert compute.training_flops(175e9, 300e9) == pytest.approx(3.15e23)
    fits = {fit.name: fit for fit in compute.FITS}
    parameters, tokens = fits["Chinchilla"].best(5.76e23)  # Gopher's budget, arXiv:2203.15556, section 3.4
    assert parameters == pytest.approx(40e9, rel=0.25) and 6 * parameters * tokens == pytest.approx(5.76e23)
    for name in ("Chinchilla", "Chinchilla, fitted anew"):
        best = fits[name].best(1e21)
        for factor in (0.8, 1.25):
            assert fits[name].loss(*best) < fits[name].loss(best[0] * factor, best[1] / factor)
    assert fits["Kaplan"].best(compute.PF_DAY)[0] == pytest.approx(1.3e9)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of --config, --compute and --workdir"),
        (["--config=configs/gpt2.py:tiny"], "--topology is required"),
        (["--config=configs/gpt2.py:tiny", "--topology=v5q:4x4"], "unknown chip 'v5q'"),
        (["--config=configs/gpt2.py:tiny", "--topology=v5e:4x4", "--mesh=fdsp:4"], "did you mean 'fsdp'"),
        (["--config=configs/gpt2.py:tiny", "--topology=v5e:4x4", "--mesh=data:3", "--estimate"], "does not fit"),
    ],
)
def test_bad_commands_end_with_2_and_one_message(arguments, message):
    done = verbs.run("plan", *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_the_verb_plans():
    done = verbs.run("plan", "--config=configs/gpt2.py:tiny", "--topology=v5e:2x2", "--estimate", "--json=-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["fits"]


def test_a_kernel_whose_attributes_have_lines_of_their_own_does_not_end_a_computation():
    """As XLA for TPUs writes them: what stands behind it counts as well."""
    text = (
        "HloModule m\n\nENTRY %main (x: f32[8,4]) -> f32[8,4] {\n  %x = f32[8,4]{1,0} parameter(0)\n"
        '  %k = f32[8,4]{1,0} custom-call(%x), custom_call_target="tpu_custom_call", frontend_attributes={a={\n'
        '"block": "128"\n}}, metadata={op_name="k"}\n'
        "  ROOT %sum = f32[8,4]{1,0} all-reduce(%k), replica_groups={{0,1}}, to_apply=%add\n"
        '}, execution_thread="main"\n'
    )
    (found,) = collectives.of(hlo.Module(text), {"data": 2})
    assert (found.kind, found.axes, found.bytes, found.times) == ("all-reduce", ("data",), 128, 1)
