"""COCO-LM: crops, correction by copying or writing, and the contrast of two views over the whole batch."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import stats

from cloze.errors import ConfigError
from cloze.models.composites.generator import put
from cloze.objectives.corrective_lm import contrastive_terms, crop_counts
from tests.objectives import pairs

UNLIKELY = 1e-6
COCO = dict(
    data__sequence_length=pairs.LENGTH, objective__mask_token_share=1.0, objective__random_token_share=0.0,
    objective__generator_width=1.0, objective__generator_layers=0.5,
)  # fmt: skip
LENGTHS = [16, 16, 11, 16, 7, 16, 16, 3]


@pytest.fixture(scope="module")
def objective(build):
    return build("corrective_lm", **COCO)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


@pytest.fixture(scope="module")
def model(objective):
    return pairs.composite(objective, family="coco_lm", preset="base", layers=1)


@pytest.fixture(scope="module")
def step(objective, model):
    """The jitted (parameters, batch) -> (outputs, terms, gradient of the loss)."""

    def loss(params, batch):
        outputs = model[0].apply({"params": params}, batch)
        sampled = outputs.sampled.at[:, 0].set(batch["targets"][:, 0])  # a draw of each row is right
        outputs = outputs.replace(sampled=sampled, tokens=put(batch, outputs.tokens, sampled))
        terms = objective.loss(outputs, batch)
        return pairs.total(terms), (outputs, terms)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def run(corrupt, model, step):
    """(batch, outputs, terms, text, gradient)."""
    rows = pairs.rows(LENGTHS)
    batch = corrupt(jax.random.key(0), rows)
    (_, (outputs, terms)), gradient = step(model[1], batch)
    return pairs.to_numpy(batch), outputs, terms, rows["tokens"], gradient


def crops_by_hand(tokens, count, share):
    """Every crop that a row of `count` tokens may have."""
    if count < 2:
        return [tokens[:count].tolist()]
    kept = min(count - 1, max(1, round(share * (count - 1))))
    return [[tokens[0], *tokens[1 + start : 1 + start + kept]] for start in range(count - kept)]


@hypothesis.given(st.lists(st.integers(0, pairs.LENGTH), min_size=4, max_size=4), st.integers(0, 99))
@hypothesis.example([0, 1, 2, 3], 0)
@hypothesis.example([pairs.LENGTH] * 4, 1)
@hypothesis.settings(deadline=None, max_examples=30)
def test_a_crop_is_a_stretch_of_the_row_behind_its_first_token(corrupt, lengths, seed):
    rows = pairs.rows(lengths, seed=seed)
    batch = pairs.to_numpy(corrupt(jax.random.key(seed), rows))
    for r, count in enumerate(lengths):
        kept = batch["crop_segments"][r] > 0
        assert not kept[1:][~kept[:-1]].any() and not batch["crop_tokens"][r][~kept].any()
        assert batch["crop_tokens"][r][kept].tolist() in crops_by_hand(rows["tokens"][r], count, 0.9)


def test_every_crop_is_as_likely(build):
    objective = build("corrective_lm", **COCO, objective__crop_share=0.5)
    rows = pairs.rows([16])
    rows = {name: np.repeat(array, 4096, 0) for name, array in rows.items()} | {"row": np.arange(4096, dtype=np.int32)}
    batch = pairs.to_numpy(jax.jit(objective.corrupt)(jax.random.key(0), rows))
    possible = [tuple(crop) for crop in crops_by_hand(rows["tokens"][0], 16, 0.5)]
    assert len(set(possible)) == 8
    drawn = [tuple(row[:9].tolist()) for row in batch["crop_tokens"]]
    assert (batch["crop_segments"].sum(1) == 9).all()
    assert stats.chisquare([drawn.count(crop) for crop in possible]).pvalue > UNLIKELY
    # Where a row is cut says nothing about where it is hidden.
    first = np.array([possible.index(crop) for crop in drawn])
    hidden = batch["prediction_positions"][:, 0]
    table = np.zeros((8, 16))
    np.add.at(table, (first, hidden), 1)
    assert stats.chi2_contingency(table[:, table.sum(0) > 50]).pvalue > UNLIKELY


def test_counts_of_crops():
    assert crop_counts(512, 0.9)[[0, 1, 2, 3, 11, 128, 512]].tolist() == [0, 0, 1, 2, 9, 114, 460]
    assert crop_counts(4, 1.0).tolist() == [0, 0, 1, 2, 3]


def test_same_key_same_crops_and_another_step_others(corrupt):
    rows = pairs.rows([16] * 16)
    first, again, later = (corrupt(jax.random.key(n), rows)["crop_tokens"] for n in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != later).any()


def test_correction_is_scored_as_by_hand(run):
    batch, outputs, terms, text, _ = run
    generator = pairs.softmax(np.asarray(outputs.generator_logits))
    written = pairs.softmax(np.asarray(outputs.main.logits))
    copying = pairs.sigmoid(np.asarray(outputs.main.heads["copy"]))
    mlm, clm, copy, labels = [], [], [], []
    for r, row in enumerate(text):
        slots = np.flatnonzero(batch["target_weights"][r])
        for slot in slots:
            place, token = batch["prediction_positions"][r, slot], batch["targets"][r, slot]
            same = outputs.tokens[r, place] == token
            mlm.append(-np.log(generator[r, slot, token]))
            clm.append(-np.log(copying[r, place] * same + (1 - copying[r, place]) * written[r, slot, token]))
        for place in np.flatnonzero(batch["segments"][r]):
            original = outputs.tokens[r, place] == row[place]
            copy.append(-np.log(copying[r, place] if original else 1 - copying[r, place]))
            labels.append(not original)
    assert 0 < sum(labels) < len(mlm)
    expected = {"mlm": (mlm, 1.0), "clm": (clm, 1.0), "copy": (copy, 50.0), "replaced": (labels, 0.0)}
    pairs.check_terms(terms, expected)


def contrast_by_hand(first, second, temperature):
    """Loss of each of the 2B views, in plain loops."""
    views = [x / np.linalg.norm(x) for x in np.concatenate([first, second]).astype(np.float64)]
    count = len(views)
    losses = []
    for i, view in enumerate(views):
        scores = {j: np.exp(view @ other / temperature) for j, other in enumerate(views) if j != i}
        losses.append(-np.log(scores[(i + count // 2) % count] / sum(scores.values())))
    return losses


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_contrast_is_that_over_all_other_views(temperature):
    first, second = np.random.default_rng(0).normal(0, 1, (2, 5, 7)).astype(np.float32)
    terms = contrastive_terms(jnp.array(first), jnp.array(second), jnp.ones(5), jnp.arange(5), temperature, 1.0)
    pairs.check_terms(terms, {"scl": (contrast_by_hand(first, second, temperature), 1.0)})
    same = contrastive_terms(jnp.array(first), jnp.array(first), jnp.ones(5), jnp.arange(5), temperature, 1.0)
    assert same["scl_accuracy"].sum == 10 and same["scl"].sum < terms["scl"].sum


def test_empty_rows_are_neither_anchors_nor_negatives():
    first, second = np.random.default_rng(0).normal(0, 1, (2, 5, 7)).astype(np.float32)
    weights = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = np.array([0, 2, 3])
    terms = contrastive_terms(jnp.array(first), jnp.array(second), weights, jnp.arange(5), 1.0, 1.0)
    pairs.check_terms(terms, {"scl": (contrast_by_hand(first[kept], second[kept], 1.0), 1.0)})
    none = contrastive_terms(jnp.array(first), jnp.array(second), jnp.zeros(5), jnp.arange(5), 1.0, 1.0)
    assert none["scl"].sum == 0 and none["scl"].weight == 0


def test_a_row_that_is_there_twice_is_no_negative_of_itself(corrupt):
    first, second = np.random.default_rng(0).normal(0, 1, (2, 3, 7)).astype(np.float32)
    again = np.array([0, 1, 2, 0, 1])  # a validation split of three rows, read as a batch of five
    twice = contrastive_terms(first[again], second[again], jnp.ones(5), jnp.array(again), 0.5, 1.0)
    views, losses = [*first[again], *second[again]], []
    for i in range(10):
        others = [j for j in range(10) if again[j % 5] != again[i % 5]]
        scores = [views[i] @ views[j] / np.linalg.norm(views[i]) / np.linalg.norm(views[j]) / 0.5
                  for j in [(i + 5) % 10, *others]]  # fmt: skip
        losses.append(np.log(np.sum(np.exp(scores))) - scores[0])
    pairs.check_terms(twice, {"scl": (losses, 1.0)})
    rows = pairs.rows(LENGTHS) | {"row_id": np.arange(8, dtype=np.int32) % 3}
    np.testing.assert_array_equal(corrupt(jax.random.key(0), rows)["row_id"], rows["row_id"])


def test_the_views_are_the_corrected_text_and_the_crop(run):
    _, outputs, terms, _, _ = run
    expected = contrast_by_hand(np.asarray(outputs.main.hidden[:, 0]), np.asarray(outputs.crop), 1.0)
    pairs.check_terms(terms, {"scl": (expected, 1.0)})


def test_loss_and_gradient_are_the_same_on_eight_devices(corrupt, model, step, run):
    batch, _, terms, _, gradient = run
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:8])
    cut, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
    (_, (_, there)), their_gradient = step(jax.device_put(model[1], whole), jax.device_put(batch, cut))
    for name, term in terms.items():
        np.testing.assert_allclose(there[name].sum, term.sum, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(there[name].weight, term.weight, rtol=1e-6, err_msg=name)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(their_gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * largest)


def test_who_learns_from_what(objective, model, corrupt):
    chosen = (["mlm"], ["clm"], ["copy"], ["scl"])
    batch = corrupt(jax.random.key(0), pairs.rows(LENGTHS))
    mlm, clm, copy, scl = pairs.gradients(model[0], objective, model[1], batch, *chosen)
    own = [name for name in mlm if name.startswith("generator/") and not name.endswith("key/bias")]
    assert all(mlm[name].any() for name in own) and not any(g[name].any() for g in (clm, copy, scl) for name in own)
    # Correction takes the probability of copying as given, and the contrast has no head.
    for name in ("corrector/copy_head/kernel", "corrector/copy_head/bias"):
        assert copy[name].any() and not clm[name].any() and not scl[name].any() and not mlm[name].any()
    assert clm["corrector/mlm_head/dense/kernel"].any() and not copy["corrector/mlm_head/dense/kernel"].any()
    body = "corrector/encoder/layers/ffn/up/kernel"
    assert all(g[body].any() for g in (clm, copy, scl)) and not mlm[body].any()
    assert all(g["corrector/token/embedding"].any() for g in (mlm, clm, copy, scl))


def test_without_weight_there_is_no_second_view_and_rows_are_apart(build, objective):
    assert objective.whole_batch
    alone = build("corrective_lm", **COCO, objective__contrastive_weight=0.0, data__packing="documents")
    assert not alone.whole_batch
    assert build("corrective_lm", **COCO, objective__contrastive_weight=0.0, model=dict(enhanced_decoder=2))
    batch = jax.eval_shape(alone.corrupt, jax.random.key(0), pairs.rows([16]))
    assert "crop_tokens" not in batch


BAD = [
    ({"objective__contrastive_weight": -1.0}, "objective.contrastive_weight=-1.0 must be at least 0"),
    ({"objective__contrastive_temperature": 0.0}, "objective.contrastive_temperature=0.0 must be more than 0"),
    ({"objective__crop_share": 0.0}, r"objective.crop_share=0.0 must be more than 0 and at most 1"),
    ({"objective__discriminator_weight": -2.0}, "objective.discriminator_weight=-2.0 must be at least 0"),
    ({"data__packing": "documents"}, "leave it at windows"),
    ({"train__batch_size": 1}, "set train.batch_size=2 or more"),
    ({"objective__tie": "tables"}, "objective.tie='tables' is not one of embeddings"),
    ({"model": dict(enhanced_decoder=2)}, "views would be those of two networks: set model.enhanced_decoder=0"),
]


@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_explained(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("corrective_lm", **COCO | options)


def test_rows_must_have_a_first_token_of_their_own(build, tables):
    with pytest.raises(ConfigError, match="needs the special token cls.*objective.contrastive_weight=0"):
        build("corrective_lm", tables=tables(cls=None), **COCO)
    assert build("corrective_lm", tables=tables(cls=None), **COCO, objective__contrastive_weight=0.0)
