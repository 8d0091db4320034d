"""Texts are compared over the whole step, wherever its rows lie and however it is cut."""

import jax
import numpy as np
import pytest

from cloze.errors import DataError
from cloze.training.gradients import Loss, make_gradient
from tests.training import tiny_run, tiny_task


def build(root, devices=1, family="bert", **changes):
    tiny_task.write(root / "embedding", "embedding")
    settings = dict(
        objective__name="contrastive", task__name="jsonl:embedding", task__files=str(root / "embedding"),
        model__pooling="mean", task__batching="buckets", optimizer__learning_rate=1e-3,
        model__layers=1, model__width=16, model__heads=2, model__ffn=16,
    )  # fmt: skip
    return tiny_run.build(tiny_task.config(family, root, "full", **settings | changes), devices)


def two_steps(program):
    state, history = tiny_run.run(program, 2)
    return history, tiny_run.parameters(program, state)


@pytest.fixture(scope="module")
def whole(root):
    """What two steps give on one device, in one piece, with dropout."""
    return two_steps(build(root, model__dropout=0.0))


def check(found, whole):
    for got, want in zip(found[0], whole[0], strict=True):
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    for name, value in whole[1].items():
        np.testing.assert_allclose(found[1][name], value, atol=2e-4, err_msg=name)


def test_microbatches_are_compared_with_each_other(root, whole):
    assert whole[0][0]["contrastive"] > 1.0  # of 8 rows: with 2 it could not exceed that of guessing among few
    check(two_steps(build(root, train__microbatches=4)), whole)


def test_eight_devices_are_compared_with_each_other(root, whole):
    check(two_steps(build(root, devices=8)), whole)


def test_both_passes_over_a_microbatch_draw_the_same_dropout(root):
    """The gradient by way of vectors is that of the loss that the first pass gives."""
    program = build(root, train__microbatches=2, model__dropout=0.3, optimizer__learning_rate=1e-3)
    rows, run = program.run.rows(program.run.data["train"], 0), program.run
    loss = Loss(program.model, run.objective, program.split)
    state, batch, keys = tiny_task.any_state(program), rows, run.keys.at(0)
    gradient = jax.jit(make_gradient(loss, 2))

    def value(scale, name):
        with run.context():
            moved = dict(state.trainable, **{name: jax.tree.map(lambda leaf: leaf * scale, state.trainable[name])})
            grads, terms, _ = gradient(state.replace(trainable=moved), batch, rows, keys)
        return float(terms["contrastive"].sum / terms["contrastive"].weight), grads

    (above, _), (below, _), (_, grads) = value(1.001, "token"), value(0.999, "token"), value(1.0, "token")
    slope = sum(float((g * p).sum()) for g, p in zip(
        jax.tree.leaves(grads["token"]), jax.tree.leaves(state.trainable["token"]), strict=True))  # fmt: skip
    assert (above - below) / 0.002 == pytest.approx(slope, rel=0.03)


def test_a_text_beside_itself_needs_dropout(root, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"anchor": "the seed"}\n{"anchor": "a mask"}\n' * 4)
    (tmp_path / "validation.jsonl").write_text('{"anchor": "the seed"}\n')
    with pytest.raises(DataError, match="set model.dropout=0.1"):
        build(root, task__files=str(tmp_path))
    assert build(root, task__files=str(tmp_path), model__dropout=0.1)
