"""Every objective is made from Python alone, without a configuration, and works on plain arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models.outputs import Outputs
from cloze.objectives import OBJECTIVES

VOCAB, LENGTH, ROWS = 40, 16, 3
SENTINELS = np.arange(VOCAB - 1, VOCAB - 13, -1, dtype=np.int32)
MASKED = dict(mask_id=4, vocab_size=VOCAB)
SENTINEL = dict(sentinels=SENTINELS, eos_id=1, length=LENGTH)
FIELDS = {
    "bart": dict(mask_id=4, bos_id=2, eos_id=3, length=LENGTH),
    "bidirectional_lm": {},
    "causal_lm": {},
    "contrastive": {},
    "corrective_lm": MASKED,
    "denoising": dict(SENTINEL, vocab_size=VOCAB),
    "distillation": MASKED,
    "glove": {},
    "masked_lm": MASKED,
    "masked_next_token": MASKED,
    "permutation_lm": dict(length=LENGTH),
    "prefix_lm": dict(eos_id=1, length=LENGTH),
    "replaced_tokens": MASKED,
    "responses": {},
    "salient_spans": SENTINEL,
    "skip_gram": dict(counts=np.ones(VOCAB, np.int64), subsample=0.0),
    "span_boundary": dict(MASKED, span_success=0.5),
    "span_corruption": SENTINEL,
    "supervised": dict(kind="class"),
    "ul2": dict(SENTINEL, length=24, denoisers=(("R", 3.0, 0.15), ("S", 0.0, 0.25))),
    "unilm": MASKED,
}


def rows_of(objective):
    """Rows of all kinds at once: what an objective does not read is ignored."""
    length = objective.rows.length if objective.rows is not None else LENGTH
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, VOCAB - 12, (ROWS, length), dtype=np.int32)
    flags = np.where(np.arange(length) % 5 == 2, 2 | 4, 0) + np.ones((ROWS, length), np.int32)
    return {
        "tokens": tokens,
        "segments": np.ones_like(tokens),
        "flags": flags,
        "token_types": np.ones_like(tokens) * (np.arange(length) > length // 2),
        "labels": np.arange(ROWS) % 2,
        "contexts": tokens[:, ::-1].copy(),
        "counts": np.ones((ROWS, length), np.float32),
        "row": np.arange(ROWS, dtype=np.int32),
        "row_id": np.arange(ROWS, dtype=np.int32),
        "epoch": np.zeros(ROWS, np.int32),
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_corrupts_arrays(name):
    objective = OBJECTIVES[name](**FIELDS[name])
    rows = rows_of(objective)
    batch = jax.jit(objective.corrupt)(jax.random.key(0), rows)
    assert all(len(array) == ROWS for array in batch.values())
    assert objective.for_validation().outputs == objective.outputs
    hides = name not in ("bidirectional_lm", "causal_lm", "contrastive", "glove", "permutation_lm")
    hides &= name not in ("responses", "skip_gram", "supervised")
    shown = np.asarray(batch["tokens"])[:, : rows["tokens"].shape[1]]
    assert (shown != rows["tokens"][:, : shown.shape[1]]).any() == hides


def expected_loss(logits_V, batch):
    """Mean over what is scored of -log p(target), by a loop."""
    log_p = np.asarray(jax.nn.log_softmax(logits_V))
    losses = [
        -log_p[place][batch["targets"][place]]
        for place in np.ndindex(*batch["targets"].shape)
        if batch["target_weights"][place]
    ]
    return np.sum(losses), len(losses)


@pytest.mark.parametrize("name, term", [("causal_lm", "loss"), ("masked_lm", "mlm"), ("span_corruption", "loss")])
def test_scores_arrays(name, term):
    objective = OBJECTIVES[name](**FIELDS[name])
    batch = jax.tree.map(np.asarray, objective.corrupt(jax.random.key(0), rows_of(objective)))
    logits = jax.random.normal(jax.random.key(1), (*batch["targets"].shape, VOCAB))
    terms = objective.loss(Outputs(heads={"lm": logits, "mlm": logits}), batch)
    total, count = expected_loss(logits, batch)
    np.testing.assert_allclose(terms[term].sum, total, rtol=1e-5)
    assert terms[term].weight == count > 0 and terms[term].coefficient == 1.0


def test_rows_may_be_of_any_length():
    objective = OBJECTIVES["masked_lm"](mask_rate=0.5, max_predictions=3, special=np.arange(VOCAB) < 6, **MASKED)
    for length in (5, 12):
        tokens = jnp.full((1, length), 7).at[0, 0].set(2)
        batch = objective.corrupt(jax.random.key(0), {"tokens": tokens, "row": jnp.zeros(1, int)})
        assert batch["target_weights"].sum() == min(3, round(length / 2)) and batch["tokens"][0, 0] == 2


def test_what_is_outside_its_range_is_refused_here_too():
    with pytest.raises(ConfigError, match="mask_rate=2.0 must be more than 0 and less than 1"):
        OBJECTIVES["masked_lm"](mask_rate=2.0, **MASKED)
    with pytest.raises(ConfigError, match="exceed 1 together"):
        OBJECTIVES["masked_lm"](mask_token_share=0.95, **MASKED)
