"""The contrastive loss against loops over examples, and what cannot be learned so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.errors import ConfigError, DataError
from cloze.models import Outputs

B, C, T, D = 5, 3, 4, 8
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(B, C, D)).astype(np.float32)
TOKENS = RNG.integers(6, 30, (B, C, T)).astype(np.int32)
TOKENS[3, 1] = TOKENS[0, 1]  # two anchors have one positive
TOKENS[4, 2] = TOKENS[1, 0]  # a negative is another's anchor
WEIGHTS = np.ones((B, C), np.float32)
WEIGHTS[1, 2] = WEIGHTS[2, 2] = 0  # examples without a negative
WEIGHTS[4] = 0  # what fills a batch up
BATCH = {"tokens": TOKENS, "choice_weights": WEIGHTS}


def terms(objective, vectors=VECTORS, batch=BATCH):
    return objective.loss(Outputs(heads={"embedding": jnp.asarray(vectors)}), jax.tree.map(jnp.asarray, batch))


def by_loops(vectors, temperature, symmetric=False):
    """(sum of losses, right answers) of the anchors that are there."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    text = [[tuple(TOKENS[b, c]) for c in range(C)] for b in range(B)]
    there = [b for b in range(B) if WEIGHTS[b, 0]]
    total = right = 0.0
    for b in there:
        both = text[b][:2]
        others = [(o, c) for o in there for c in range(1, C) if WEIGHTS[o, c] and text[o][c] not in both]
        scores = np.array([unit[b, 0] @ unit[o, c] for o, c in [(b, 1), *others]], np.float64) / temperature
        loss = np.log(np.exp(scores).sum()) - scores[0]
        right += scores.argmax() == 0
        if symmetric:
            anchors = [b, *(o for o in there if text[o][0] not in both)]
            scores = np.array([unit[b, 1] @ unit[o, 0] for o in anchors], np.float64) / temperature
            loss = (loss + np.log(np.exp(scores).sum()) - scores[0]) / 2
        total += loss
    return total, right


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "symmetric": True}])
def test_each_anchor_finds_its_positive_among_all_others(build, options):
    found = terms(build("contrastive", **{f"objective__{name}": value for name, value in options.items()}))
    total, right = by_loops(VECTORS, **{"temperature": 0.05} | options)
    assert set(found) == {"contrastive", "accuracy"}
    assert float(found["contrastive"].sum) == pytest.approx(total, rel=1e-4)
    assert (float(found["accuracy"].sum), float(found["accuracy"].weight)) == (right, 4)
    assert (found["contrastive"].coefficient, found["accuracy"].coefficient) == (1.0, 0.0)


@pytest.mark.parametrize("weights", [(), (3.0, 1.0)])
def test_prefixes_are_compared_by_themselves(build, weights):
    sizes = (8, 2)
    made = build("contrastive", objective__matryoshka_sizes=sizes, objective__matryoshka_weights=weights)
    found = terms(made)
    for size, share in zip(sizes, np.array(weights or (1, 1)) / sum(weights or (1, 1)), strict=True):
        term = found[f"contrastive_{size}"]
        assert term.coefficient == pytest.approx(share)
        assert float(term.sum) == pytest.approx(by_loops(VECTORS[..., :size], 0.05)[0], rel=1e-4)
    assert len(found) == 4


def test_a_batch_of_filler_has_a_loss_and_a_gradient_of_nothing(build):
    made, batch = build("contrastive", objective__symmetric=True), BATCH | {"choice_weights": np.zeros_like(WEIGHTS)}
    grads = jax.grad(lambda x: terms(made, x, batch)["contrastive"].sum)(jnp.zeros_like(VECTORS))
    assert np.abs(grads).max() == 0


def test_a_text_beside_itself_needs_dropout(build):
    same = {"tokens": np.repeat(TOKENS[:, :1], 2, axis=1)}
    build("contrastive").check_rows(lambda step: same)
    still = build("contrastive", model={"dropout": 0.0})
    still.check_rows(lambda step: BATCH)
    with pytest.raises(DataError, match="no dropout.*model.dropout=0.1"):
        still.check_rows(lambda step: same)


@pytest.mark.parametrize("options, message", [
    (dict(objective__temperature=0.0), "objective.temperature=0.0 must be more than 0"),
    (dict(objective__matryoshka_sizes=(16, 4)), "must differ and be at most model.width=8"),
    (dict(objective__matryoshka_sizes=(4, 4)), "must differ"),
    (dict(objective__matryoshka_sizes=(8, 4), objective__matryoshka_weights=(1.0,)), "one weight for each size"),
    (dict(model={"architecture": "decoder", "pooling": "first"}), "model.pooling=first.*set it to last or mean"),
    (dict(model={"pooling": "last"}), "model.pooling=last.*set it to mean or first"),
    (dict(finetune__dp_clip_norm=1.0, finetune__dp_noise_multiplier=1.0), "finetune.dp_clip_norm=1.0.*set it to 0"),
    (dict(task__batching="pack"), "task.batching=pack.*task.kind=embedding"),
    (dict(task__kind="class", task__name="package"), "task.kind='class': set task.kind to one of embedding"),
    (dict(model={"architecture": "encoder_decoder"}), "objective.name=contrastive trains models of architecture"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("contrastive", **options)
