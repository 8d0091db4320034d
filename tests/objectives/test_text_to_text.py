"""Pairs of texts: how an encoder-decoder and a decoder read them, who sees whom, and what is scored."""

import types

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from hypothesis import strategies as st

from cloze import models
from cloze.errors import ConfigError
from cloze.models.outputs import Outputs
from cloze.objectives.text_to_text import Pair, split_row

VOCAB, EOS, PAD = 40, 5, 0
LENGTH = 16
DECODER = {"architecture": "decoder"}


def ragged_rows(lengths, size, seed=0):
    tokens = np.random.default_rng(seed).integers(6, 32, (len(lengths), size), dtype=np.int32)
    segments = (np.arange(size) < np.array(lengths)[:, None]).astype(np.int32)
    return {"tokens": tokens * segments, "segments": segments, "row": np.arange(len(lengths), dtype=np.int32)}


@pytest.fixture(scope="module")
def objectives(build):
    """Prefix language modelling in four layouts; sequences of 16."""
    options = dict(data__sequence_length=LENGTH, data__packing="sentences")
    causal = dict(options, model=DECODER, objective__prefix="causal")
    made = {
        "two": build("prefix_lm", **options),
        "full": build("prefix_lm", model=DECODER, **options),
        "causal": build("prefix_lm", **causal),
        "all": build("prefix_lm", objective__loss_on_inputs=True, **causal),
    }
    return {name: (objective, jax.jit(objective.corrupt)) for name, objective in made.items()}


def check_streams(batch, r, inputs, targets):
    """An encoder-decoder's row holds these inputs and targets."""
    n, m = len(inputs), len(targets)
    assert batch["tokens"][r, :n].tolist() == inputs and not batch["tokens"][r, n:].any()
    assert batch["segments"][r].tolist() == [1] * n + [0] * (LENGTH - n)
    assert batch["targets"][r, :m].tolist() == targets and not batch["targets"][r, m:].any()
    assert batch["decoder_tokens"][r].tolist() == [PAD, *batch["targets"][r, :-1].tolist()]
    assert batch["target_weights"][r].tolist() == [1] * m + [0] * (LENGTH - m)


@hypothesis.given(st.lists(st.integers(0, LENGTH), min_size=4, max_size=4))
@hypothesis.example([0, 1, 2, LENGTH])
@hypothesis.settings(deadline=None, max_examples=25)
def test_an_encoder_decoder_reads_two_streams(objectives, lengths):
    objective, corrupt = objectives["two"]
    rows = ragged_rows(lengths, objective.rows.length)
    batch = {name: np.asarray(value) for name, value in corrupt(jax.random.key(lengths[0]), rows).items()}
    for r, n in enumerate(lengths):
        cut = int(batch["segments"][r].sum()) - 1
        text = rows["tokens"][r, :n].tolist()
        assert 1 <= cut < n or n == cut < 2
        if n:
            check_streams(batch, r, [*text[:cut], EOS], [*text[cut:], EOS])
        else:
            assert not batch["target_weights"][r].any()


@hypothesis.given(st.lists(st.integers(0, LENGTH + 1), min_size=4, max_size=4))
@hypothesis.example([0, 1, 2, LENGTH + 1])
@hypothesis.settings(deadline=None, max_examples=25)
def test_a_decoder_reads_one_stream_without_a_gap(objectives, lengths):
    rows, key = ragged_rows(lengths, LENGTH + 1), jax.random.key(lengths[0])
    full, causal, everything = (
        {name: np.asarray(value) for name, value in objectives[kind][1](key, rows).items()}
        for kind in ("full", "causal", "all")
    )
    for r, n in enumerate(lengths):
        np.testing.assert_array_equal(full["tokens"][r], rows["tokens"][r, :-1])
        np.testing.assert_array_equal(full["targets"][r], rows["tokens"][r, 1:])
        scored = np.flatnonzero(full["target_weights"][r])
        cut = scored[0] + 1 if len(scored) else n  # the last token of the inputs predicts the first target
        assert scored.tolist() == list(range(cut - 1, n - 1)) and (1 <= cut < n or n < 2)
        ranks = np.arange(LENGTH)
        np.testing.assert_array_equal(full["ranks"][r], np.where(ranks < cut, 0, ranks))
        assert everything["target_weights"][r].tolist() == [float(i + 1 < n) for i in range(LENGTH)]
    for other in (causal, everything):
        assert set(full) - set(other) == {"ranks"} and "segments" not in other
        np.testing.assert_array_equal(full["tokens"], other["tokens"])
    np.testing.assert_array_equal(full["target_weights"], causal["target_weights"])


def test_longer_inputs_than_buffers_of_pairs_stay_whole(objectives):
    """The layout alone, from a pair with room after both sides."""
    objective, _ = objectives["full"]
    pair = Pair(jnp.array([7, 8, 0, 0]), 2, jnp.array([9, 10, 11, 0]), 3)
    parts = types.SimpleNamespace(
        joint_length=8, targets_length=4, pad_id=PAD, loss_on_inputs=False, prefix="full"
    )  # fmt: skip
    batch = type(objective)._one_stream(parts, pair)
    assert batch["tokens"].tolist() == [7, 8, 9, 10, 11, 0, 0] and batch["targets"].tolist() == [8, 9, 10, 11, 0, 0, 0]
    assert batch["target_weights"].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert batch["ranks"].tolist() == [0, 0, 2, 3, 4, 5, 6]


def test_a_row_is_split_and_both_parts_end():
    tokens = jnp.arange(10, 16)
    pair = split_row(tokens, 5, 2, EOS, PAD, 6, 4)
    assert pair.inputs.tolist() == [10, 11, EOS, 0, 0, 0] and pair.inputs_count == 3
    assert pair.targets.tolist() == [12, 13, 14, EOS] and pair.targets_count == 4
    bare = split_row(tokens, 5, 2, None, PAD, 3, 3)
    assert bare.inputs.tolist() == [10, 11, 0] and bare.targets.tolist() == [12, 13, 14] and bare.targets_count == 3


@pytest.fixture(scope="module")
def decoder():
    """A tiny decoder with a bidirectional bias, and parameters of no special values."""
    config = models.resolve(
        dict(
            family="t5", preset="prefix_lm_base", vocab_size=VOCAB, vocab_multiple=8, width=16, heads=2, head_dim=8,
            ffn=32, layers=2, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, final_dropout=0.0,
        ),
        heads_out=("lm",),
    )  # fmt: skip
    model = models.build(config)
    shapes = jax.eval_shape(lambda: meta.unbox(model.init(jax.random.key(0), models.example_batch())))["params"]
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(1)
    params = jax.tree.unflatten(structure, [jnp.asarray(rng.normal(0, 0.3, x.shape), jnp.float32) for x in leaves])
    return lambda batch: model.apply({"params": params}, batch), params, model


@pytest.mark.parametrize("kind", ["full", "causal"])
def test_predictions_see_the_prefix_and_never_later_targets(objectives, decoder, kind):
    objective, corrupt = objectives[kind]
    run, _, _ = decoder
    rows = ragged_rows([12, 17], LENGTH + 1)
    batch = {name: value[:1] for name, value in corrupt(jax.random.key(3), rows).items()}
    weights = np.asarray(batch["target_weights"])[0]
    cut, end = int(np.flatnonzero(weights)[0]) + 1, int(np.flatnonzero(weights)[-1]) + 2
    assert cut >= 3 and end - cut >= 3 and end == 12
    # Row i of the batch has another token at place i.
    tokens = np.repeat(np.asarray(batch["tokens"]), LENGTH, axis=0)
    tokens[np.arange(LENGTH), np.arange(LENGTH)] += 1
    many = {name: jnp.repeat(value, LENGTH, axis=0) for name, value in batch.items()} | {"tokens": jnp.array(tokens)}
    changed = np.abs(np.asarray(run(many).logits) - np.asarray(run(batch).logits)).max(-1) > 1e-5
    place, query = np.meshgrid(np.arange(LENGTH), np.arange(LENGTH), indexing="ij")
    seen = place <= query
    if kind == "full":
        seen |= (place < cut) & (query < cut)
    np.testing.assert_array_equal(changed, seen)
    # What is scored sees all of the prefix that comes before it, and of the targets those before its own.
    for i in np.flatnonzero(weights):
        assert changed[:cut, i].all() and not changed[i + 1 :, i].any()


def test_loss_equals_a_loop_and_is_a_weighted_sum(objectives):
    objective, _ = objectives["all"]
    logits = jax.random.normal(jax.random.key(0), (2, 3, VOCAB))
    batch = {"targets": jnp.array([[7, 8, 9], [10, 7, 7]]), "target_weights": jnp.array([[0.0, 1, 1], [1, 0, 0]])}
    terms = objective.loss(Outputs(heads={"lm": logits}), batch)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    np.testing.assert_allclose(terms["loss"].sum, -(log_p[0, 1, 8] + log_p[0, 2, 9] + log_p[1, 0, 10]), rtol=1e-6)
    assert (terms["loss"].weight, terms["loss"].coefficient, terms["accuracy"].coefficient) == (3, 1.0, 0.0)
    by_row = [
        objective.loss(Outputs(heads={"lm": logits[r : r + 1]}), {k: v[r : r + 1] for k, v in batch.items()})
        for r in range(2)
    ]
    for name, term in terms.items():
        np.testing.assert_allclose(term.sum, by_row[0][name].sum + by_row[1][name].sum, rtol=1e-6)
        assert term.weight == by_row[0][name].weight + by_row[1][name].weight


def test_the_gradient_reaches_every_parameter_and_tokens_that_are_read(objectives, decoder):
    objective, corrupt = objectives["full"]
    _, params, model = decoder
    batch = corrupt(jax.random.key(3), ragged_rows([12, 17], LENGTH + 1))

    def loss(params):
        return objective.loss(model.apply({"params": params}, batch), batch)["loss"].sum

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.abs(np.asarray(leaf)).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_smoothing_and_z_loss_are_left_out_of_validation(build):
    objective = build("prefix_lm", objective__label_smoothing=0.1, objective__z_loss=1e-4)
    assert (objective.label_smoothing, objective.z_loss) == (0.1, 1e-4)
    plain = objective.for_validation()
    assert (plain.label_smoothing, plain.z_loss) == (0.0, 0.0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__prefix": "none"}, "objective.prefix='none' is not one of full, causal"),
        ({"objective__loss_on_inputs": True}, "needs objective.prefix=causal"),
        ({"model": {"positions": "relative_bias", "relative_bidirectional": False}}, "relative_bidirectional=True"),
        (
            {"model": {"positions": "learned_relative_bias", "relative_bidirectional": False}},
            "relative_bidirectional=True",
        ),
        ({"data__sequence_length": 513}, "model.max_positions=513"),
        ({"objective__z_loss": -1.0}, "objective.z_loss=-1.0"),
        ({"objective__label_smoothing": 1.0}, "objective.label_smoothing=1.0"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    model = DECODER | options.pop("model", {})
    with pytest.raises(ConfigError, match=message):
        build("prefix_lm", model=model, **options)


def test_encoder_decoders_need_positions_for_both_sides(build):
    with pytest.raises(ConfigError, match="data.target_length makes rows of 600 tokens"):
        build("prefix_lm", data__sequence_length=64, data__target_length=600)
    with pytest.raises(ConfigError, match="span_corruption|masked_lm"):
        build("prefix_lm", model={"architecture": "encoder"})


@pytest.mark.parametrize("name", ["span_corruption", "denoising", "bart", "ul2"])
def test_a_decoder_has_positions_for_inputs_and_targets_together(build, name):
    with pytest.raises(ConfigError, match="inputs and targets together"):
        build(name, data__sequence_length=32, model=DECODER | {"longest_row": 33})
