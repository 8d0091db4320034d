"""Tokens hidden one by one: shares, runs, what each noise does with them, and nothing lost that was promised."""

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze.errors import ConfigError
from cloze.objectives.denoising import NOISES, expected_targets
from cloze.objectives.sentinels import fitting, runs

EOS, PAD = 5, 0
VOCAB = 40
LENGTH = 32  # of the inputs; rows have one token less
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less


@pytest.fixture(scope="module")
def made(build):
    """{noise: (objective, jitted corruption)} over rows of sentences, so that they may be ragged."""
    found = {}
    for noise in NOISES:
        objective = build(
            "denoising", objective__noise=noise, data__sequence_length=LENGTH, data__packing="sentences",
            objective__mask_rate=0.2, objective__mask_token_share=0.7, objective__random_token_share=0.2,
        )  # fmt: skip
        found[noise] = objective, jax.jit(objective.corrupt)
    return found


def ragged_rows(lengths, seed=0):
    """Rows of text with an unknown token here and there, which is special."""
    rng = np.random.default_rng(seed)
    size = (len(lengths), LENGTH - 1)
    segments = (np.arange(LENGTH - 1) < np.array(lengths)[:, None]).astype(np.int32)
    tokens = np.where(rng.random(size) < 0.1, 2, rng.integers(6, 32, size)).astype(np.int32)
    return {"tokens": tokens * segments, "segments": segments, "row": np.arange(len(lengths), dtype=np.int32)}


def unpadded(tokens, count):
    tokens = np.asarray(tokens).tolist()
    assert not any(tokens[count:]) and tokens[count - 1] == EOS
    return tokens[: count - 1]


def restore(inputs, targets, sentinels):
    """Puts what follows each sentinel in the targets in its place in the inputs."""
    spans, current = {}, None
    for token in targets:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    assert all(spans.values())
    order = [token for token in inputs if token in sentinels]
    assert order == list(spans) == sentinels[: len(order)]
    return [t for token in inputs for t in (spans[token] if token in sentinels else [token])]


def sides(batch, r):
    inputs = unpadded(batch["tokens"][r], int(batch["segments"][r].sum()))
    return inputs, unpadded(batch["targets"][r], int(batch["target_weights"][r].sum()))


@hypothesis.given(st.lists(st.integers(0, LENGTH - 1), min_size=4, max_size=4))
@hypothesis.example([0, 1, 2, LENGTH - 1])
@hypothesis.settings(deadline=None, max_examples=25)
def test_any_length_of_text_is_restored(made, lengths):
    rows, key = ragged_rows(lengths), jax.random.key(lengths[0])
    for noise, (objective, corrupt) in made.items():
        batch = {name: np.asarray(value) for name, value in corrupt(key, rows).items()}
        for r, n in enumerate(lengths):
            if not n:
                assert not batch["target_weights"][r].any()
                continue
            text = rows["tokens"][r, :n].tolist()
            inputs, targets = sides(batch, r)
            if noise == "iid_spans":
                assert restore(inputs, targets, objective.sentinels.tolist()) == text
            elif noise == "drop_tokens":
                assert sorted(inputs + targets) == sorted(text) and 2 not in targets
                assert subsequence(inputs, text) and subsequence(targets, text)
            else:
                assert targets == text and len(inputs) == n
                # Special tokens are as they were, all else is text, a sentinel for a mask or any random token.
                assert all(shown == token for shown, token in zip(inputs, text, strict=True) if token == 2)
                assert noise != "deshuffle" or sorted(inputs) == sorted(text)
                assert noise != "mass" or all(a in (b, VOCAB - 1) for a, b in zip(inputs, text, strict=True))


def subsequence(part, whole):
    rest = iter(whole)
    return all(token in rest for token in part)


def windows(count):
    tokens = np.random.default_rng(0).integers(6, 32, (count, LENGTH - 1), dtype=np.int32)
    return {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}


def hidden_of(batch, rows):
    return np.asarray(batch["tokens"])[:, :-1] != rows["tokens"]


def test_each_token_is_hidden_with_the_same_chance_on_its_own(made):
    rows = windows(8192)
    hidden = hidden_of(made["mass"][1](jax.random.key(0), rows), rows)
    assert stats.binomtest(int(hidden.sum()), hidden.size, 0.2).pvalue > UNLIKELY
    times = hidden.sum(0)
    assert stats.chisquare(times).pvalue > UNLIKELY
    both = (hidden[:, 1:] & hidden[:, :-1]).sum()
    assert stats.binomtest(int(both), hidden[:, 1:].size, 0.04).pvalue > UNLIKELY
    numbers = np.bincount(hidden.sum(1), minlength=LENGTH)[:16]
    expected = stats.binom.pmf(np.arange(16), LENGTH - 1, 0.2)
    assert stats.chisquare(numbers, expected / expected.sum() * numbers.sum()).pvalue > UNLIKELY


def test_shares_of_mask_random_and_kept(made):
    objective, corrupt = made["bert_style"]
    rows = windows(8192)
    shown = np.asarray(corrupt(jax.random.key(1), rows)["tokens"])[:, :-1]
    masked = (shown == objective.sentinels[0]).sum()
    random = ((shown != objective.sentinels[0]) & (shown != rows["tokens"])).sum()
    assert stats.binomtest(int(masked), shown.size, 0.2 * (0.7 + 0.2 / VOCAB)).pvalue > UNLIKELY
    assert stats.binomtest(int(random), shown.size, 0.2 * 0.2 * (1 - 2 / VOCAB)).pvalue > UNLIKELY
    ids = np.bincount(shown[(shown < 6) | (shown >= 32)], minlength=VOCAB)  # of random tokens alone, but the mask
    ids = ids[[*range(6), *range(32, VOCAB - 1)]]
    assert stats.chisquare(ids).pvalue > UNLIKELY


def test_all_orders_are_equally_likely(made):
    rows = {"tokens": np.zeros((12_000, LENGTH - 1), np.int32), "row": np.arange(12_000)}
    rows["tokens"][:, [0, 2, 3, 4]] = [7, 8, 9, 10]
    rows["tokens"][:, 1] = 2  # special: stays
    rows["segments"] = (np.arange(LENGTH - 1) < 5).astype(np.int32)[None].repeat(12_000, 0)
    shown = np.asarray(made["deshuffle"][1](jax.random.key(2), rows)["tokens"])
    assert (shown[:, 1] == 2).all() and (shown[:, 5] == EOS).all()
    orders, seen = np.unique(shown[:, [0, 2, 3, 4]], axis=0, return_counts=True)
    assert len(orders) == 24 and stats.chisquare(seen).pvalue > UNLIKELY


def reference_iid(rng, tokens, rate, sentinels, room):
    """Plain loops over one row: (inputs, targets) before the end tokens."""
    inputs, targets, before, used = [], [], False, 0
    for token in tokens:
        hide = rng.random() < rate
        cost = 1 if before else 2
        if hide and (len(targets) + cost > room or (not before and used == len(sentinels))):
            room = -1  # no more from here on
            hide = False
        if not hide:
            inputs.append(token)
        else:
            if not before:
                inputs.append(sentinels[used])
                targets.append(sentinels[used])
                used += 1
            targets.append(token)
        before = hide
    return inputs, targets


def test_runs_are_distributed_as_a_loop_has_them(build):
    # A tight buffer, so that what has no room is tested too.
    objective = build(
        "denoising", data__sequence_length=LENGTH, data__target_length=16, objective__mask_rate=0.25
    )  # fmt: skip
    rows, rng = windows(4096), np.random.default_rng(5)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(3), rows).items()}
    sentinels = objective.sentinels.tolist()
    ours, theirs = [], []
    for r, text in enumerate(rows["tokens"].tolist()):
        inputs, targets = sides(batch, r)
        if r < 500:
            assert restore(inputs, targets, sentinels) == text
        ours.append((len(inputs), len(targets), sum(t in sentinels for t in targets)))
        inputs, targets = reference_iid(rng, text, 0.25, sentinels, 15)
        theirs.append((len(inputs), len(targets), sum(t in sentinels for t in targets)))
    ours, theirs = np.array(ours), np.array(theirs)
    assert ours[:, 1].max() == 15  # the bound is met, and no more
    for column in range(3):
        table = np.stack([np.bincount(side[:, column], minlength=LENGTH + 1) for side in (ours, theirs)])
        table = table[:, table.sum(0) >= 20]
        assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_what_has_no_room_is_kept_from_the_right():
    hidden = np.array([0, 1, 1, 0, 1, 0, 1, 1], bool)
    assert np.flatnonzero(runs(hidden)).tolist() == [1, 4, 6]
    assert np.flatnonzero(fitting(hidden, 3, 8)).tolist() == [1, 2, 4, 6, 7]
    assert np.flatnonzero(fitting(hidden, 3, 7)).tolist() == [1, 2, 4, 6]
    assert np.flatnonzero(fitting(hidden, 2, 8)).tolist() == [1, 2, 4]
    assert np.flatnonzero(fitting(hidden, 3, 4)).tolist() == [1, 2]
    assert not fitting(hidden, 0, 8).any()


@pytest.mark.parametrize("noise", ["iid_spans", "drop_tokens"])
def test_the_number_of_targets_is_as_computed(noise):
    hidden = np.random.default_rng(0).random((20_000, 60)) < 0.3
    count = hidden.sum(1)
    if noise == "iid_spans":
        count = count + hidden[:, 0] + (hidden[:, 1:] & ~hidden[:, :-1]).sum(1)
    mean, deviation = expected_targets(60, 0.3, noise)
    assert abs(count.mean() - mean) < 5 * deviation / 20_000**0.5
    assert count.std() == pytest.approx(deviation, rel=0.03)


def test_buffers_are_those_of_the_study(build, tables):
    many = tables(vocab_size=150, sentinels=np.arange(149, 49, -1))
    objective = build("denoising", tables=many, data__sequence_length=512, model={"vocab_size": 150})
    assert (objective.inputs_length, objective.targets_length, objective.rows.length) == (512, 192, 511)
    assert not objective.rows.flags and objective.rows.document_end is None


def test_a_final_sentinel_closes_the_targets(build):
    objective = build("denoising", data__sequence_length=LENGTH, objective__final_sentinel=True)
    rows = windows(32)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(0), rows).items()}
    sentinels = objective.sentinels.tolist()
    for r, text in enumerate(rows["tokens"].tolist()):
        inputs, targets = sides(batch, r)
        assert targets.pop() == sentinels[sum(token in sentinels for token in inputs)]
        assert restore(inputs, targets, sentinels) == text


def test_bits_depend_on_key_and_place_only(made):
    rows, key = ragged_rows([31, 20, 31, 9]), jax.random.key(4)
    for objective, corrupt in made.values():
        whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
        for name, array in whole.items():
            np.testing.assert_array_equal(array, again[name])
        assert (whole["tokens"] != other["tokens"]).any()
        assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))
    objective, corrupt = made["iid_spans"]
    part = corrupt(key, {name: value[2:4] for name, value in rows.items()})
    np.testing.assert_array_equal(corrupt(key, rows)["tokens"][2:4], part["tokens"])


def test_full_rows_need_no_segments_where_the_inputs_keep_their_length(build):
    for noise in NOISES:
        objective = build("denoising", objective__noise=noise, data__sequence_length=LENGTH)
        batch = jax.eval_shape(objective.corrupt, jax.random.key(0), windows(2))
        assert ("segments" in batch) == (noise in ("iid_spans", "drop_tokens"))


def test_a_decoder_reads_both_without_a_gap(build):
    objective = build(
        "denoising", data__sequence_length=LENGTH, model={"architecture": "decoder"}, objective__prefix="causal",
        objective__loss_on_inputs=True,
    )  # fmt: skip
    both = build("denoising", data__sequence_length=LENGTH)
    rows, key = windows(16), jax.random.key(0)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(key, rows).items()}
    pairs = {name: np.asarray(x) for name, x in jax.jit(both.corrupt)(key, rows).items()}
    for r in range(16):
        inputs, targets = sides(pairs, r)
        whole = [*inputs, EOS, *targets, EOS]
        scored = int(batch["target_weights"][r].sum())
        assert batch["target_weights"][r, :scored].all() and scored == len(whole) - 1
        assert batch["tokens"][r, :scored].tolist() == whole[:-1]
        assert batch["targets"][r, :scored].tolist() == whole[1:]
        assert not batch["targets"][r, scored:].any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__noise": "iid"}, "objective.noise='iid' is not one of iid_spans, bert_style"),
        ({"objective__mask_rate": 0.0}, r"objective.mask_rate=0.0 must be more than 0 and less than 1"),
        ({"objective__mask_rate": 1.0}, r"objective.mask_rate=1.0 must be more than 0 and less than 1"),
        ({"objective__noise": "bert_style", "objective__random_token_share": 0.3}, "exceed 1 together"),
        ({"objective__noise": "bert_style", "objective__mask_token_share": 1.2}, "objective.mask_token_share=1.2"),
        ({"data__sequence_length": 1}, "at least 2"),
        ({"data__sequence_length": 128}, "have 16 hidden runs on average, for which the tokenizer has 8 sentinels"),
        ({"data__target_length": 8}, "set it to 10 or more"),
        ({"objective__noise": "mass", "data__target_length": 31}, "set it to 32 or more"),
        ({"data__packing": "documents"}, "data.packing=documents does not go"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("denoising", **{"data__sequence_length": LENGTH} | options)


def test_tokenizers_without_needed_tokens_are_refused(build, tables):
    for missing in ("eos", "pad"):
        with pytest.raises(ConfigError, match=rf"special token {missing}, .*tokenizer.sentinels=100"):
            build("denoising", tables=tables(**{missing: None}))
    for noise in ("iid_spans", "mass", "bert_style"):
        with pytest.raises(ConfigError, match="needs sentinels, the tokenizer has 0: use tokenizer.kind=unigram"):
            build("denoising", tables=tables(sentinels=[]), objective__noise=noise)
    build("denoising", tables=tables(sentinels=[]), objective__noise="deshuffle")
