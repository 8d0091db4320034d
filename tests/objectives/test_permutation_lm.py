"""XLNet's permutation objective: who is predicted, in which order, and who sees whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cloze import models
from cloze.errors import ConfigError
from cloze.models import names
from cloze.models.inputs import Visibility
from cloze.models.outputs import Outputs
from cloze.objectives.permutation_lm import choose_targets, draw_order

LENGTH, MEMORY, BLOCK, ROWS = 64, 16, 16, 400


@pytest.fixture(scope="module")
def objective(build):
    return make(build)


def make(build, **options):
    settings = dict(
        data__sequence_length=LENGTH,
        objective__memory_share=MEMORY / LENGTH,
        objective__permutation_share=BLOCK / LENGTH,
        objective__mask_rate=85 / 512,
        objective__longest_ngram=5,
    )
    return build("permutation_lm", **settings | options)


@pytest.fixture(scope="module")
def drawn(objective):
    """(rows, batch) of ROWS rows of random text with [SEP] and [CLS] at the end."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(6, 30, (ROWS, MEMORY + LENGTH)).astype(np.int32)
    tokens[:, -2:] = 3, 2
    rows = {"tokens": tokens, "row": np.arange(ROWS, dtype=np.int32)}
    corrupt = jax.jit(objective.corrupt)
    batch = corrupt(key(0), rows)
    again, other = corrupt(key(0), rows), corrupt(key(1), rows)
    for name in batch:
        np.testing.assert_array_equal(batch[name], again[name])
    assert (np.asarray(batch["ranks"]) != other["ranks"]).any()
    assert (np.asarray(batch["prediction_positions"]) != other["prediction_positions"]).any()
    return rows, {name: np.asarray(value) for name, value in batch.items()}


def key(seed):
    return jax.random.key(seed, impl="threefry2x32")


def test_the_text_is_not_changed_and_targets_are_its_tokens(drawn):
    rows, batch = drawn
    np.testing.assert_array_equal(batch["tokens"], rows["tokens"])
    np.testing.assert_array_equal(
        batch["targets"], np.take_along_axis(rows["tokens"], batch["prediction_positions"], axis=1)
    )


def test_exactly_the_budget_is_predicted_half_in_each_half_and_never_a_special_token_or_the_memory(drawn):
    _, batch = drawn
    assert batch["targets"].shape[1] == round(85 / 512 * LENGTH) == 11
    assert (batch["target_weights"] == 1).all()
    places = batch["prediction_positions"]
    assert (np.diff(places, axis=1) > 0).all() and places.min() >= MEMORY
    middle = MEMORY + LENGTH // 2
    assert ((places < middle).sum(axis=1) == 6).all()
    assert (batch["targets"] >= 6).all()


def test_visibility_is_the_reference_s(drawn):
    """Against plain loops over the definition: what each place may see, in both streams."""
    _, batch = drawn
    ranks = jnp.asarray(batch["ranks"])
    segment = jnp.ones_like(ranks)
    seen = dict(query_segments=segment, key_segments=segment, query_ranks=ranks, key_ranks=ranks)
    content = np.asarray(Visibility(**seen).mask(MEMORY + LENGTH, MEMORY + LENGTH))
    query = np.asarray(Visibility(strict=True, **seen).mask(MEMORY + LENGTH, MEMORY + LENGTH))
    middle = MEMORY + LENGTH // 2
    for row in range(5):
        ordered = set(batch["prediction_positions"][row].tolist()) | {MEMORY + LENGTH - 2, MEMORY + LENGTH - 1}
        part = [0 if i < MEMORY else 1 if i < middle else 2 for i in range(MEMORY + LENGTH)]
        for i in range(MEMORY + LENGTH):
            for j in range(MEMORY + LENGTH):
                if part[i] != part[j]:
                    expected = part[j] < part[i]
                elif j not in ordered:
                    expected = True
                elif i not in ordered:
                    expected = False
                else:
                    expected = i == j or batch["ranks"][row, j] < batch["ranks"][row, i]
                assert content[row, i, j] == expected, (row, i, j)
                if i in ordered and expected and i != j:
                    assert query[row, i, j]
            if i in ordered:
                assert not query[row, i, i]


def test_orders_are_permutations_and_every_order_of_two_targets_is_as_likely(drawn):
    _, batch = drawn
    ranks = np.take_along_axis(batch["ranks"], batch["prediction_positions"], axis=1)
    assert all(len(set(row)) == len(row) for row in ranks.tolist())
    same_block = (batch["prediction_positions"][:, 0] - MEMORY) // BLOCK == (
        batch["prediction_positions"][:, 1] - MEMORY
    ) // BLOCK
    first = (ranks[:, 0] < ranks[:, 1])[same_block]
    assert stats.binomtest(int(first.sum()), len(first), 0.5).pvalue > 1e-4


def test_blocks_are_permuted_alike_and_follow_each_other():
    order = np.asarray(jax.vmap(lambda k: draw_order(k, 12, 4))(jax.random.split(key(0), 2000)))
    assert (np.sort(order, axis=1) == np.arange(12)).all()
    assert (order[:, :4] // 4 == 0).all() and (order[:, 8:] // 4 == 2).all()
    np.testing.assert_array_equal(order[:, :4] + 4, order[:, 4:8])
    counts = np.array([np.bincount(order[:, place], minlength=4) for place in range(4)])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def reference(rng, starts_word, budget, longest, context):
    """The choice of targets by plain loops; the text has no special tokens."""
    length, at, chosen = len(starts_word), 0, np.zeros(len(starts_word), bool)
    share = 1 / np.arange(1, longest + 1)
    words = np.flatnonzero(starts_word).tolist()
    while True:
        n = 1 + rng.choice(longest, p=share / share.sum())
        before = rng.integers(n * context)
        begin = next((w for w in words if w >= at + before), length)
        if begin >= length or chosen.sum() + n > budget:
            break
        later = [w for w in words if w > begin]
        end = later[n - 1] if len(later) >= n else length
        end = min(end, begin + budget - int(chosen.sum()))
        chosen[begin:end] = True
        at = end + n * context - before
    rest = np.flatnonzero(~chosen)
    chosen[rng.permutation(rest)[: budget - chosen.sum()]] = True
    return chosen


def test_targets_are_distributed_as_plain_loops_draw_them():
    rng = np.random.default_rng(0)
    starts = np.zeros(48, bool)
    starts[0] = True
    starts[1:] = rng.random(47) < 0.7
    draw = jax.jit(
        jax.vmap(lambda k: choose_targets(k, jnp.asarray(starts), jnp.ones(48, bool), 8, longest_ngram=5, context=6))
    )
    ours = np.asarray(draw(jax.random.split(key(0), 6000)))
    theirs = np.array([reference(rng, starts, 8, 5, 6) for _ in range(6000)])
    assert (ours.sum(axis=1) == 8).all() and (theirs.sum(axis=1) == 8).all()

    def runs(chosen):  # number of separate runs in each row
        return (np.diff(np.pad(chosen, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(axis=1)

    tables = [np.stack([ours.sum(axis=0), theirs.sum(axis=0)])]
    tables.append(np.stack([np.bincount(runs(x), minlength=10)[:10] for x in (ours, theirs)]))
    for table in tables:
        table = table[:, table.sum(axis=0) > 20]
        assert stats.chi2_contingency(table).pvalue > 1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.sampled_from([0, 1, 5, 12]), st.integers(0, 10_000))
def test_few_candidates_are_all_there_is(candidates, budget, seed):
    length = 12
    allowed = np.arange(length) < candidates
    chosen = np.asarray(CHOOSE[budget](key(seed), jnp.ones(length, bool), jnp.asarray(allowed)))
    assert chosen.sum() == min(budget, candidates) and not (chosen & ~allowed).any()


CHOOSE = {
    budget: jax.jit(lambda k, s, c, budget=budget: choose_targets(k, s, c, budget, longest_ngram=5, context=2))
    for budget in (0, 1, 5, 12)
}


def test_a_prediction_depends_on_smaller_ranks_only(drawn, objective):
    """By perturbing one token at a time in a real two-stream model: the paper's equation 4."""
    c = models.resolve(
        dict(family="xlnet", preset="base", layers=2, width=16, heads=2, ffn=16, vocab_size=40), heads_out=("lm",)
    )
    model = models.build(c)
    rng = np.random.default_rng(0)
    params = names.unflatten(
        {n: jnp.asarray(rng.normal(0, 0.3, s), jnp.float32) for n, s in models.parameters(model).shapes.items()}
    )
    _, batch = drawn
    one = {name: value[:1] for name, value in batch.items()}
    length = MEMORY + LENGTH
    many = {name: np.repeat(value, length, axis=0) for name, value in one.items()}
    changed = many["tokens"].copy()
    changed[np.arange(length), np.arange(length)] += np.where(changed[0] < 20, 7, -7)
    apply = jax.jit(lambda b: model.apply({"params": params}, b).logits)
    before, after = np.asarray(apply(many)), np.asarray(apply({**many, "tokens": changed}))
    moved = np.abs(before - after).max(axis=-1) > 1e-6  # [changed place, prediction]
    ranks, places = one["ranks"][0], one["prediction_positions"][0]
    expected = ranks[:, None] < ranks[places][None, :]
    # Within two layers every smaller rank is reached, since each is seen at once.
    np.testing.assert_array_equal(moved, expected)


def test_the_loss_is_the_mean_over_targets(objective, drawn):
    """Against a plain loop."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(*drawn[1]["targets"].shape, 40)).astype(np.float32)
    expected = 0.0
    for row, targets in zip(logits[:50], drawn[1]["targets"][:50], strict=True):
        for scores, target in zip(row, targets, strict=True):
            expected += np.log(np.exp(scores).sum()) - scores[target]
    few = {name: value[:50] for name, value in drawn[1].items()}
    terms = objective.loss(Outputs(heads={"lm": jnp.asarray(logits[:50])}), few)
    np.testing.assert_allclose(terms["loss"].sum, expected, rtol=1e-5)
    assert terms["loss"].weight == 50 * 11 and terms["accuracy"].coefficient == 0


BAD = [
    ({"objective__mask_rate": 1.0}, "objective.mask_rate"),
    ({"objective__permutation_share": 0.3}, "is 19 tokens, which must divide the 32 of half a row"),
    ({"objective__permutation_share": 0.0}, "must be more than 0 and at most 0.5"),
    ({"objective__memory_share": -0.5}, r"objective.memory_share=-0.5 must be at least 0 and at most 1"),
    ({"objective__longest_ngram": 0}, "at least 1"),
    ({"data__sequence_length": 4}, "at least 8"),
    ({"data__packing": "documents"}, "data.packing=documents"),
]


@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        make(build, **options)


def test_other_models_and_tokenizers_are_refused(build, tables):
    with pytest.raises(ConfigError, match="set model.family=xlnet"):
        build("permutation_lm", data__sequence_length=64, model=dict(positions="learned"))
    with pytest.raises(ConfigError, match="special tokens cls, sep"):
        build("permutation_lm", data__sequence_length=64, tables=tables(cls=None, sep=None))
