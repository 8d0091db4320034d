"""Causal and masked rows in one batch: shares, targets one place before, and one loss of two means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cloze import models
from cloze.errors import ConfigError
from cloze.models.outputs import Outputs
from cloze.objectives.causal_lm import CausalLM
from cloze.objectives.masked_next_token import MaskedNextToken

VOCAB, MASK, EOS, LENGTH = 40, 4, 5, 24
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less
FIELDS = dict(mask_id=MASK, vocab_size=VOCAB, eos_id=EOS, special=np.arange(VOCAB) < 6, length=LENGTH)


def rows_of(count, packed=False):
    tokens = np.random.default_rng(0).integers(6, VOCAB, (count, LENGTH + 1), dtype=np.int32)
    tokens[:, 9] = EOS
    rows = {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}
    if packed:
        segments = np.where(np.arange(LENGTH + 1) < 10, 1, 2) * (np.arange(LENGTH + 1) < 22)
        rows["segments"] = np.broadcast_to(segments.astype(np.int32), tokens.shape)
        places = np.arange(LENGTH + 1) - 10 * (np.arange(LENGTH + 1) >= 10)
        rows["positions"] = np.broadcast_to(places.astype(np.int32), tokens.shape)
    return rows


def corrupted(objective, rows, seed=0):
    return {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(seed), rows).items()}


def test_each_row_is_causal_with_the_given_chance():
    batch = corrupted(MaskedNextToken(causal_share=0.25, **FIELDS), rows_of(4096))
    causal = batch["causal"] == 1
    assert stats.binomtest(int(causal.sum()), 4096, 0.25).pvalue > UNLIKELY
    np.testing.assert_array_equal(batch["ranks"][causal], np.broadcast_to(np.arange(LENGTH), (causal.sum(), LENGTH)))
    assert not batch["ranks"][~causal].any()
    for share in (0.0, 1.0):
        assert (corrupted(MaskedNextToken(causal_share=share, **FIELDS), rows_of(64))["causal"] == share).all()


@pytest.mark.parametrize("packed", [False, True])
def test_causal_rows_are_those_of_causal_lm(packed):
    rows = rows_of(8, packed)
    batch = corrupted(MaskedNextToken(causal_share=1.0, **FIELDS), rows)
    for name, array in corrupted(CausalLM(length=LENGTH), rows).items():
        np.testing.assert_array_equal(batch[name], array, err_msg=name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("masking", ["tokens", "whole_words", "ngrams", "spans"])
def test_hidden_tokens_are_scored_one_place_before(packed, masking):
    rows = rows_of(256, packed)
    options = dict(mask_token_share=1.0, random_token_share=0.0, mask_rate=0.25, masking=masking)
    batch = corrupted(MaskedNextToken(causal_share=0.0, **options, **FIELDS), rows)
    text, segments = rows["tokens"], rows.get("segments", np.ones_like(rows["tokens"]))
    hidden = 0
    for r in range(256):
        scored = batch["target_weights"][r] == 1
        for place in range(LENGTH):
            masked = batch["tokens"][r, place] == MASK
            assert batch["tokens"][r, place] == (MASK if masked else text[r, place])
            if place:
                assert masked == scored[place - 1]
        for place in np.flatnonzero(scored):
            assert batch["targets"][r, place] == text[r, place + 1] >= 6
            assert segments[r, place] == segments[r, place + 1] > 0
        hidden += scored.sum()
        assert scored.sum() <= 6 and not scored[-1] and batch["tokens"][r, 0] != MASK
    assert hidden / 256 > (4.5 if packed else 5)
    if packed:
        assert not (batch["tokens"][:, 10] == MASK).any()  # the first of the second text


def test_the_loss_weighs_the_means_of_both_kinds_by_their_shares():
    objective = MaskedNextToken(causal_share=0.25, **FIELDS)
    batch = corrupted(objective, rows_of(32))
    logits = jax.random.normal(jax.random.key(1), (32, LENGTH, VOCAB))
    terms = objective.loss(Outputs(heads={"lm": logits}), batch)
    log_p, top = np.asarray(jax.nn.log_softmax(logits)), np.asarray(logits.argmax(-1))
    for name, kind, share in (("mntp", 0, 0.75), ("causal", 1, 0.25)):
        places = [
            (r, t) for r, t in np.ndindex(32, LENGTH) if batch["causal"][r] == kind and batch["target_weights"][r, t]
        ]
        losses = [-log_p[r, t, batch["targets"][r, t]] for r, t in places]
        right = sum(top[r, t] == batch["targets"][r, t] for r, t in places)
        np.testing.assert_allclose(terms[name].sum, np.sum(losses), rtol=1e-5)
        assert (terms[name].weight, terms[name].coefficient) == (len(places), share) and places
        assert (terms[f"{name}_accuracy"].sum, terms[f"{name}_accuracy"].coefficient) == (right, 0.0)


def test_one_model_reads_causal_rows_backwards_only_and_masked_rows_in_both_directions():
    config = models.ModelConfig(
        family="gpt2", preset="", architecture="decoder", layers=2, width=8, heads=2, ffn=8, vocab_size=VOCAB,
        max_positions=LENGTH, heads_out=("lm",), dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    objective = MaskedNextToken(causal_share=0.5, **FIELDS)
    model = objective.model(config)
    batch = corrupted(objective, rows_of(16))
    params = model.init(jax.random.key(0), batch)
    apply = jax.jit(lambda batch: model.apply(params, batch).logits)
    changed = dict(batch, tokens=np.where(np.arange(LENGTH) == 12, (batch["tokens"] + 1) % VOCAB, batch["tokens"]))
    moved = np.abs(np.asarray(apply(changed) - apply(batch))).max(-1) > 1e-6
    causal = batch["causal"] == 1
    assert causal.any() and not causal.all()
    assert not moved[causal, :12].any() and moved[:, 12:].all() and moved[~causal].all()
    plain = {name: jnp.asarray(batch[name]) for name in ("tokens",)}  # without ranks, as it is used afterwards
    np.testing.assert_allclose(apply(plain)[causal], apply(batch)[causal], atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__causal_share": 1.5}, "objective.causal_share=1.5 must be at least 0 and at most 1"),
        ({"data__packing": "sentences"}, "leave it at windows"),
        ({"objective__masking": "entities", "data__packing": "documents"}, "leave it at windows"),
        ({"model": {"architecture": "encoder"}}, "trains models of architecture decoder"),
        (
            {"model": {"positions": "relative_bias", "relative_bidirectional": False, "longest_row": None}},
            "objective.name=masked_next_token: this decoder's relative bias does not tell apart",
        ),
        ({"data__sequence_length": 513}, "model.max_positions=513"),
    ],
)
def test_bad_options_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("masked_next_token", **options)


def test_reads_rows_as_causal_lm_does(build):
    rows = build("masked_next_token", data__packing="documents").rows
    assert rows == build("causal_lm", data__packing="documents").rows
    flagged = build("masked_next_token", objective__masking="entities").rows
    assert flagged.entities and flagged.flags and flagged.kind == "windows"
