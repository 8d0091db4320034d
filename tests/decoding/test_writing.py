"""Writing the most probable tokens, against a loop that runs the whole rows again for every token."""

import functools
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

from cloze import decoding
from cloze.parallel import mesh as meshes
from tests.decoding import models as tiny

CASES = {"gpt2": ("gpt2", "small"), "t5": ("t5", "small")}
PAD = tiny.VOCAB - 1
EVERY = np.ones(tiny.VOCAB, bool)


@functools.cache
def searched(name):
    """The tokens that the loop writes, [ROWS, WRITTEN], without an end."""
    model, params = tiny.build(*CASES[name])
    given = tiny.batch(model.config)
    run = jax.jit(lambda params, batch: model.apply({"params": params}, batch).logits)
    written = np.zeros((tiny.ROWS, tiny.WRITTEN), np.int32)
    for number in range(tiny.WRITTEN):
        logits = run(params, tiny.whole(model.config, given, written))
        written[:, number] = np.argmax(logits[np.arange(tiny.ROWS), tiny.PROMPT_LENGTHS - 1 + number], axis=-1)
    return written


def write(
    name,
    lengths=tiny.PROMPT_LENGTHS,
    end_ids=(PAD,),
    model=None,
    max_tokens=tiny.WRITTEN,
    valid=EVERY,
    watch=None,
    **options,
):
    built, params = tiny.build(*CASES[name])
    written = decoding.write(
        model or built, params, tiny.batch(built.config), lengths, valid,
        options=decoding.DecodingOptions(max_tokens=max_tokens, **options), end_ids=end_ids, pad_id=PAD, watch=watch,
    )  # fmt: skip
    return written.tokens, written.lengths


@pytest.mark.parametrize("name", CASES)
def test_without_an_end_it_is_the_loop(name):
    expected = searched(name)
    assert len(set(expected.ravel().tolist())) > 4 and PAD not in expected
    tokens, counts = write(name)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(counts, tiny.WRITTEN)


@pytest.mark.parametrize("ready", [True, False])
def test_a_step_copies_no_parameters(ready):
    """With parameters for writing, nothing in the program gives an array of the shape of a kernel, or of the table."""
    model, params = tiny.build(*CASES["gpt2"])
    writing = decoding.for_writing(params) if ready else params
    prompts = {"tokens": np.ones((tiny.ROWS, 5), np.int32)}  # whose states have another shape than kernels
    given = dict(options=decoding.DecodingOptions(max_tokens=2), end_ids=(PAD,), pad_id=PAD)
    lengths = np.full(tiny.ROWS, 5, np.int32)
    state = jax.eval_shape(functools.partial(decoding.begin, model, **given), writing, prompts, lengths, EVERY)
    program = decoding.advance.lower(model, writing, state, EVERY, np.int32(2), **given).compile()
    width, ffn = model.config.width, model.config.ffn
    shapes = [(width, width), (width, ffn), (ffn, width), (64, width), (width, 64)]  # 61 pieces, padded to 64
    given = re.escape("f32[") + "(?:1,)*(?:" + "|".join(f"{a},{b}" for a, b in shapes) + ")" + re.escape("]")
    made = re.findall(rf"= {given}\S* ([\w-]+)\(", program.as_text())
    assert (set(made) <= {"parameter", "get-tuple-element", "bitcast"}) == ready


class Counted:
    """A model that is no Flax module, and counts how often it is run."""

    def __init__(self, model):
        self.config, self.runs, self._model = model.config, 0, model

    def apply(self, *args, **kwargs):
        jax.debug.callback(lambda: setattr(self, "runs", self.runs + 1))
        return self._model.apply(*args, **kwargs)


def test_rows_end_at_their_end():
    whole = searched("gpt2")
    end = int(whole[0, 1])  # the second token of the first row, wherever else it stands
    model = Counted(tiny.build(*CASES["gpt2"])[0])
    tokens, counts = write("gpt2", end_ids=(end,), model=model)
    lengths = []
    for row in whole:
        stops = np.flatnonzero(row == end)
        lengths.append(stops[0] if len(stops) else tiny.WRITTEN)
        np.testing.assert_array_equal(tokens[len(lengths) - 1, : lengths[-1] + 1], row[: lengths[-1] + 1])
        assert (tokens[len(lengths) - 1, lengths[-1] + 1 :] == PAD).all()
    np.testing.assert_array_equal(counts, lengths)
    assert counts[0] <= 1 and len(set(lengths)) > 1
    jax.effects_barrier()
    assert model.runs == min(max(lengths) + 1, tiny.WRITTEN)


def test_each_of_several_ends_ends():
    whole = searched("gpt2")
    ends = [int(whole[0, 2]), int(whole[1, 1])]
    _, counts = write("gpt2", end_ids=(PAD, *ends))
    expected = [next((n for n, i in enumerate(row) if i in ends), tiny.WRITTEN) for row in whole]
    np.testing.assert_array_equal(counts, expected)
    _, alone = write("gpt2", end_ids=(PAD, ends[0]))
    assert counts[1] < alone[1]


def test_what_is_no_text_is_not_written():
    whole = searched("gpt2")
    valid = EVERY.copy()
    valid[whole[:, 0]] = False  # what each row would begin with
    tokens, _ = write("gpt2", valid=valid)
    assert valid[tokens].all() and not (tokens == whole).all()


def test_filler_rows_get_nothing_and_keep_nobody_waiting():
    model = Counted(tiny.build(*CASES["gpt2"])[0])
    first = int(searched("gpt2")[0, 0])
    tokens, counts = write("gpt2", lengths=np.array([6, 0, 0, 0], np.int32), end_ids=(first,), model=model)
    np.testing.assert_array_equal(counts, 0)
    np.testing.assert_array_equal(tokens[0], [first] + [PAD] * (tiny.WRITTEN - 1))
    np.testing.assert_array_equal(tokens[1:], PAD)
    jax.effects_barrier()
    assert model.runs == 1


def test_one_token_needs_no_step():
    tokens, counts = write("t5", max_tokens=1)
    np.testing.assert_array_equal(tokens, searched("t5")[:, :1])
    np.testing.assert_array_equal(counts, 1)


WAYS = {"beams": dict(beams=3, num_samples=2), "drawn": dict(top_p=0.9, num_samples=2)}


@pytest.mark.parametrize("way", ["beams", "drawn"])
def test_a_mesh_searches_and_draws_the_same(way):
    model, params = tiny.build(*CASES["gpt2"])
    mesh = meshes.make_mesh(dict(data=2, fsdp=2, tensor=2, sequence=1), jax.devices()[:8])
    rows, everywhere = meshes.row_sharding(mesh), meshes.replicated(mesh)
    options = decoding.DecodingOptions(max_tokens=tiny.WRITTEN, **WAYS[way])
    keys = jax.random.split(jax.random.key(0), 2 * tiny.ROWS) if options.draws else None
    given = tiny.batch(model.config), tiny.PROMPT_LENGTHS
    told = dict(options=options, end_ids=(PAD,), pad_id=PAD)
    alone = decoding.write(model, params, *given, EVERY, keys=keys, **told)
    with meshes.context(mesh):
        keys = None if keys is None else jax.device_put(keys, rows)
        params, given = jax.device_put(params, everywhere), jax.device_put(given, rows)
        together = decoding.write(model, params, *given, EVERY, keys=keys, **told)
    np.testing.assert_array_equal(together.tokens, alone.tokens)
    assert len({tuple(row) for row in alone.tokens.tolist()}) == 2 * tiny.ROWS


@pytest.mark.parametrize("name, sizes", [("gpt2", (2, 2, 2, 1)), ("t5", (2, 1, 2, 2))])
def test_a_mesh_writes_the_same(name, sizes):
    model, params = tiny.build(*CASES[name])
    mesh = meshes.make_mesh(dict(zip(meshes.MESH_AXES, sizes, strict=True)), jax.devices()[:8])
    batch, lengths = jax.device_put((tiny.batch(model.config), tiny.PROMPT_LENGTHS), meshes.row_sharding(mesh))
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
        written = decoding.write(
            model, jax.device_put(params, meshes.replicated(mesh)), batch, lengths, EVERY,
            options=decoding.DecodingOptions(max_tokens=tiny.WRITTEN), end_ids=(PAD,), pad_id=PAD,
        )  # fmt: skip
    np.testing.assert_array_equal(written.tokens, searched(name))


def test_rows_stay_where_they_are():
    """On a mesh that cuts nothing but rows, a step needs no talk between devices."""
    model, params = tiny.build(*CASES["gpt2"])
    mesh = meshes.make_mesh(dict(data=4, fsdp=1, tensor=1, sequence=1), jax.devices()[:4])
    rows, everywhere = meshes.row_sharding(mesh), meshes.replicated(mesh)
    batch, lengths = jax.device_put((tiny.batch(model.config), tiny.PROMPT_LENGTHS), rows)
    with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):

        def second(params, tokens, lengths):
            _, cache = decoding.prefill(model, params, {"tokens": tokens}, lengths, tiny.PROMPT + 1)
            return decoding.step(model, params, tokens[:, 0], cache)

        run = jax.jit(second)
        program = run.lower(jax.device_put(params, everywhere), batch["tokens"], lengths).compile().as_text()
    assert "all-gather" not in program and "all-reduce" not in program and "collective-permute" not in program
