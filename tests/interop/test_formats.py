"""Every registered format: its tables name every parameter once, fill every tensor once, and lose no setting."""

import dataclasses

import numpy as np
import pytest

from cloze import models
from cloze.errors import ConfigError
from cloze.interop import format as kinds
from cloze.interop import formats, plan, settings
from cloze.models import names
from tests.interop import fakes

CLASSES = [(model_type, name) for model_type in formats.model_types() for name in formats.get(model_type).classes]
# What may decide whether a parameter exists, one change at a time; a format with rows for more adds it here.
SWITCHES = [f.name for f in dataclasses.fields(models.ModelConfig) if f.default is True or f.default is False]
VARIANTS = [
    {},
    *({name: value} for name in SWITCHES for value in (True, False)),
    {"attention_bias": "qkvo"},
    {"token_types": 2},
]


@pytest.mark.parametrize("model_type, class_name", CLASSES)
def test_every_parameter_has_a_tensor_and_every_tensor_is_filled_once(model_type, class_name):
    known = formats.get(model_type)
    config = fakes.tiny(known, class_name)
    wanted = plan.parameters(config)
    parts = plan.plan(known.rows(class_name), known.base_of(class_name), config, wanted)
    covered = {(part.ours, part.layer) for part in parts}
    expected = set()
    for name, shape in wanted.shapes.items():
        layers = set(range(shape[0])) - set(config.unused_layers(name)) if names.is_stacked(name) else (None,)
        expected |= {(name, layer) for layer in layers}
    assert len(covered) == len(parts) and covered == expected

    written = {part.theirs: np.zeros(part.theirs_shape, int) for part in parts}
    for part in parts:
        assert written[part.theirs].shape == part.theirs_shape
        view = part.look(written[part.theirs])
        assert np.shares_memory(view, written[part.theirs])  # else nothing could be written through it
        view += 1
        assert view.size == np.prod(part.cut)
    for name, counts in written.items():
        assert (counts == 1).all(), name
    assert not set(written) & {buffer.theirs for buffer in known.classes[class_name].buffers}


@pytest.mark.parametrize("model_type, class_name", CLASSES)
def test_settings_survive_the_way_there_and_back(model_type, class_name):
    known = formats.get(model_type)
    config = fakes.tiny(known, class_name)
    tensors = fakes.tensors(known, class_name, config)
    written = settings.write(known, class_name, config, tensors)  # compares what is computed
    again, name, held = settings.read(written, tensors)
    assert (again, name, held.heads_out) == (known, class_name, config.heads_out)
    assert held.dropout == config.dropout and held.norm_epsilon == config.norm_epsilon


@pytest.mark.parametrize("model_type", formats.model_types())
def test_no_row_is_in_vain(model_type):
    known = formats.get(model_type)
    left = {row for name in known.classes for row in known.rows(name)}
    heads = {head for described in known.classes.values() for head in described.heads}
    if "class" in heads:
        heads.discard("choice")  # the same parameters
    for variant in VARIANTS:
        try:
            config = dataclasses.replace(
                fakes.tiny(known, next(iter(known.classes))), heads_out=tuple(heads), **variant
            )
        except ConfigError:  # this switch does not go with this model
            continue
        wanted = plan.parameters(config).shapes
        left -= {
            row
            for row in left
            if (row.when is None or row.when(config))
            and any((row.ours + leaf.ours).replace("/{i}", "") in wanted for leaf in row.kind)
        }
        if not left:
            return
    assert not {(row.ours, row.theirs) for row in left}


def test_interleaved_and_three_dimensional_layouts():
    """Numbers that spell their place show that each layout is read as its reference defines it."""
    config = fakes.tiny(formats.get("bert"), "BertModel", heads=3, kv_heads=3, head_dim=2)
    width, heads, size = 5, config.heads, config.head_dim
    fused = np.arange(heads * 3 * size * width).reshape(heads * 3 * size, width)
    for part in range(3):
        (leaf,) = kinds.interleaved_part(part, 3)
        ours = leaf.view(fused, config).reshape(width, heads * size)
        for head in range(heads):
            for e in range(size):
                np.testing.assert_array_equal(ours[:, head * size + e], fused[(head * 3 + part) * size + e])
        assert leaf.shape(ours.shape, config) == fused.shape
    cube = np.arange(width * heads * size).reshape(width, heads, size)
    ((into,), (out,)) = kinds.HEADS_IN, kinds.HEADS_OUT
    x = np.arange(width)
    np.testing.assert_array_equal(
        x @ into.view(cube, config).reshape(width, heads * size), np.einsum("d,dhe->he", x, cube).reshape(-1)
    )
    y = np.arange(heads * size)
    ours = out.view(cube, config).reshape(heads * size, width)
    np.testing.assert_array_equal(y @ ours, np.einsum("he,dhe->d", y.reshape(heads, size), cube))
    assert into.shape((width, heads * size), config) == out.shape((heads * size, width), config) == cube.shape
