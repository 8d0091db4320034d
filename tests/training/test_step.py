"""The step: accumulation, frozen parameters, resume, and its figures pinned on literal arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze import models, objectives
from cloze.models import names
from cloze.objectives import Term
from cloze.parallel import mesh as meshes
from cloze.training.gradients import is_deterministic
from cloze.training.trainable import Split
from tests.training import tiny_run


def test_four_ragged_microbatches_equal_one_batch(root):
    """Sentence pairs have different lengths, so that microbatches carry different weights."""
    whole = tiny_run.build(tiny_run.config("bert", root, train__batch_size=8))
    state, history = tiny_run.run(whole, 2)
    parts = tiny_run.build(tiny_run.config("bert", root, train__batch_size=8, train__microbatches=4))
    other_state, other = tiny_run.run(parts, 2)
    for got, want in zip(other, history, strict=True):
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=2e-5, abs=1e-5), name
    before, after = tiny_run.parameters(whole, state), tiny_run.parameters(parts, other_state)
    for name, value in before.items():
        assert np.abs(after[name] - value).max() < 2e-3 and np.abs(after[name] - value).mean() < 1e-5, name


def test_ragged_means_ragged(root):
    """Guards the test above: the microbatches' weights do differ."""
    program = tiny_run.build(tiny_run.config("bert", root, train__batch_size=8))
    rows = program.run.data["train"].batches(0)
    batch = program.run.objective.corrupt(jax.random.key(0, impl="threefry2x32"), rows)
    weights = np.asarray(batch["target_weights"]).sum(axis=1)
    assert len(set(weights[i::4].sum() for i in range(4))) > 1


FROZEN = {
    "probe": ((r"(mlm_head|nsp_head|pooler)/.*", True), (r".*", False)),
    "bottom": ((r"encoder/layers/0/.*", False), (r"(token|encoder_embeddings)/.*", False), (r".*", True)),
    "middle": ((r"encoder/layers/1/ffn/.*", False), (r".*", True)),
}


@pytest.mark.parametrize("rules", FROZEN)
def test_frozen_parameters_stay_and_have_no_optimizer_state(rules, root):
    program = tiny_run.build(tiny_run.config("bert", root, trainable=FROZEN[rules], optimizer__weight_decay=0.1))
    start = tiny_run.parameters(program, program.new_state())
    state, history = tiny_run.run(program, 2)
    end = tiny_run.parameters(program, state)
    for name, mask in program.split.mask.items():
        for layer in range(len(mask)):
            a, b = (start[name][layer], end[name][layer]) if names.is_stacked(name) else (start[name], end[name])
            assert np.array_equal(a, b) == (not mask[layer]), (name, layer)
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert moments == 2 * sum(int(np.prod(shape)) for shape in program.split.trainable_shapes().values())
    layers = program.split.frozen_layers()["frozen_encoder"]
    assert layers == {"probe": 2, "bottom": 1, "middle": 0}[rules]
    assert program.model.frozen_encoder == layers


def test_a_frozen_bottom_changes_no_update_above_it(root):
    """Against a run in which the same layers are merely given no update."""
    rules = FROZEN["bottom"]
    frozen = tiny_run.build(tiny_run.config("bert", root, trainable=rules, optimizer__clip_norm=0.0))
    full = tiny_run.build(tiny_run.config("bert", root, optimizer__clip_norm=0.0))
    a = tiny_run.parameters(frozen, tiny_run.run(frozen, 1)[0])
    b = tiny_run.parameters(full, tiny_run.run(full, 1)[0])
    np.testing.assert_allclose(
        a["encoder/layers/ffn/up/kernel"][1], b["encoder/layers/ffn/up/kernel"][1], rtol=1e-4, atol=1e-5
    )


def test_split_and_merge_are_inverse():
    shapes = {"encoder/layers/a/kernel": (5, 3, 2), "token/embedding": (7, 2), "head/bias": (4,)}
    rules = ((r"encoder/layers/[13]/.*", False), (r"token/.*", False), (r".*", True))
    split = Split(rules, shapes)
    rng = np.random.default_rng(0)
    params = names.unflatten({name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()})
    trainable, frozen = split(params)
    assert names.flatten(trainable)["encoder/layers/a/kernel"].shape == (3, 3, 2)
    assert set(names.flatten(frozen)) == {"encoder/layers/a/kernel", "token/embedding"}
    merged = names.flatten(split.merge(trainable, frozen))
    for name, leaf in names.flatten(params).items():
        np.testing.assert_array_equal(merged[name], leaf)


def test_decoder_layers_above_a_training_encoder_are_not_cut():
    shapes = {"encoder/layers/a/kernel": (2, 3), "decoder/layers/a/kernel": (2, 3), "token/embedding": (7, 2)}
    only_decoder = Split(((r"(token|decoder)/.*", False), (r".*", True)), shapes)
    assert only_decoder.frozen_layers() == {"frozen_encoder": 0, "frozen_decoder": 0}
    both = Split(((r"token/.*", False), (r"decoder/layers/1/.*", True), (r".*", False)), shapes)
    assert both.frozen_layers() == {"frozen_encoder": 2, "frozen_decoder": 1}


def test_same_step_same_masks_other_step_other_masks(root):
    program = tiny_run.build(tiny_run.config("bert", root))
    rows = program.run.data["train"].batches(0)
    key = program.run.keys.corrupt
    batches = [program.run.objective.corrupt(jax.random.fold_in(key, t), rows) for t in (0, 0, 1)]
    np.testing.assert_array_equal(batches[0]["tokens"], batches[1]["tokens"])
    assert not np.array_equal(batches[0]["prediction_positions"], batches[2]["prediction_positions"])


def test_dropout_draws_and_validation_does_not(root):
    program = tiny_run.build(tiny_run.config("gpt2", root, model__dropout=0.3, model__attention_dropout=0.2))
    state = program.new_state()
    assert tiny_run.validate(program, state) == tiny_run.validate(program, state)
    plain = tiny_run.build(tiny_run.config("gpt2", root))
    assert tiny_run.validate(program, state)["loss"] == pytest.approx(tiny_run.validate(plain, state)["loss"], rel=1e-6)
    _, history = tiny_run.run(program, 1)
    _, other = tiny_run.run(plain, 1)
    assert abs(history[0]["loss"] - other[0]["loss"]) > 1e-4


def test_dropout_of_heads_counts_where_there_is_such_a_head():
    def deterministic(*heads, **rates):
        none = dict.fromkeys(("dropout", "attention_dropout"), 0.0)
        settings = dict(family="bert", preset="base", heads_out=heads, head_dropout=0.0, pooler_dropout=0.0)
        return is_deterministic(models.resolve(settings | none | rates))

    assert deterministic("mlm", "nsp", "class", "tag")
    assert not deterministic("mlm", dropout=0.1)
    for head in ("class", "choice", "tag", "span"):
        assert not deterministic(head, head_dropout=0.1)
    for head in ("nsp", "pooler", "class", "choice"):
        assert not deterministic(head, pooler_dropout=0.1)
    assert deterministic("mlm", "nsp", "rtd", "sbo", head_dropout=0.1)
    assert deterministic("mlm", "tag", pooler_dropout=0.1)


def test_validation_that_scores_nothing_has_no_loss(root):
    program = tiny_run.build(tiny_run.config("gpt2", root))
    state = program.new_state()
    unscored = {"lm": Term(0.0, 0.0, 1.0), "accuracy": Term(1.0, 2.0, 0.0)}
    vars(program)["eval_step"] = lambda state, rows, key: (unscored, None)
    values = tiny_run.validate(program, state)
    assert np.isnan(values["loss"]) and np.isnan(values["lm"]) and values["accuracy"] == 0.5
    vars(program)["eval_step"] = lambda state, rows, key: (unscored | {"other": Term(6.0, 2.0, 0.5)}, None)
    assert tiny_run.validate(program, state)["loss"] == 1.5
    vars(program)["eval_step"] = lambda state, rows, key: (unscored | {"other": Term(np.nan, 2.0, 0.5)}, None)
    assert np.isnan(tiny_run.validate(program, state)["loss"])


def literal_rows(family):
    """Rows written down by hand, in the form that data gives them."""
    tokens = (np.arange(4 * 34).reshape(4, 34) * 7 % 50 + 6).astype(np.int32)
    common = {"row_id": np.arange(4), "epoch": np.zeros(4), "row": np.arange(4)}
    if family == "bert":
        tokens = tokens[:, :32]
        tokens[:, 0], tokens[:, 15], tokens[:, 31] = 2, 3, 3
        types = np.tile(np.arange(32) > 15, (4, 1))
        common |= {"segments": np.ones((4, 32)), "token_types": types, "labels": np.array([0, 1, 0, 1])}
    if family == "gpt2":
        tokens = tokens[:, :33]
    if family == "t5":
        tokens = np.tile(tokens, (1, 2))[:, : objectives.span_corruption.lengths(32, 0.15, 3.0)[0]]
    return {"tokens": tokens, **{k: np.asarray(v, np.int32) for k, v in common.items()}}


# Taken once from this code on CPU in f32 (jax 0.10.1), after the models had been found equal to the references.
PINNED = {
    "bert": {
        "grad_norm": 0.392168,
        "learning_rate": 0.01,
        "loss": 6.279447,
        "mlm": 5.584922,
        "mlm_accuracy": 0.0,
        "param_norm": 14.933566,
        "nsp": 0.694525,
        "nsp_accuracy": 0.5,
        "tokens": 128.0,
    },
    "gpt2": {
        "accuracy": 0.0,
        "param_norm": 17.135771,
        "grad_norm": 0.299929,
        "learning_rate": 0.01,
        "loss": 5.581146,
        "tokens": 128.0,
    },
    "t5": {
        "accuracy": 0.0,
        "param_norm": 15.821193,
        "grad_norm": 0.038877,
        "learning_rate": 0.01,
        "loss": 5.545414,
        "tokens": 160.0,
    },
}


@pytest.mark.parametrize("family", PINNED)
def test_one_step_is_pinned(family, root):
    program = tiny_run.build(tiny_run.config(family, root, train__batch_size=4, optimizer__warmup_steps=0))
    rows = {k: jnp.asarray(v) for k, v in literal_rows(family).items()}
    state = program.new_state()
    # Parameters from sines instead of a random generator: the same on every version.
    flat = {
        name: jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32) * 1.7 + i).reshape(leaf.shape) * 0.1
        for i, (name, leaf) in enumerate(names.flatten(state.trainable).items())
    }
    state = dataclasses.replace(state, trainable=names.unflatten(flat))
    with program.run.context():
        step = program.trace_train_step().lower().compile()
        rows = jax.device_put(rows, meshes.row_sharding(program.run.mesh))
        _, metrics = step(state, rows, program.run.keys)
    got = {k: float(v) for k, v in metrics.items() if k != "gradient_norms"}
    assert got == pytest.approx(PINNED[family], rel=1e-4)


def test_microbatches_are_summed_in_f32_whatever_a_step_computes_in(root):
    config = tiny_run.config("gpt2", root, model__dtype="bfloat16", model__scan=False, train__microbatches=2)
    program = tiny_run.build(config)
    trainable = [leaf.shape for leaf in jax.tree.leaves(program.abstract_state.trainable)]
    jaxpr = program.trace_train_step().jaxpr
    loops = [e for e in jaxpr.eqns if e.primitive.name == "scan" and e.params["length"] == 2]
    (sums,) = ([var.aval for var in loop.outvars[: loop.params["num_carry"]]] for loop in loops)
    assert {leaf.dtype for leaf in sums} == {np.dtype("float32")}
    assert sorted(leaf.shape for leaf in sums if leaf.ndim) == sorted(trainable)
