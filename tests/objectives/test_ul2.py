"""UL2's mixture: equal shares, each denoiser's counts and masks, its mode token, and nothing lost."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from cloze.errors import ConfigError
from cloze.objectives.span_corruption import lengths, noise_counts
from cloze.objectives.ul2 import PUBLISHED, counts, random_lengths, row_length

EOS, PAD = 5, 0
LENGTH = 16
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less


@pytest.fixture(scope="module")
def objective(build):
    return build("ul2", data__sequence_length=LENGTH)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def window_rows(objective, count):
    tokens = np.random.default_rng(0).integers(6, 32, (count, objective.rows.length), dtype=np.int32)
    return {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}


def sides(batch, r):
    inputs = batch["tokens"][r, : int(batch["segments"][r].sum())].tolist()
    targets = batch["targets"][r, : int(batch["target_weights"][r].sum())].tolist()
    assert inputs.pop() == targets.pop() == EOS
    assert not batch["tokens"][r, len(inputs) + 1 :].any() and not batch["targets"][r, len(targets) + 1 :].any()
    return inputs, targets


def expand(inputs, targets, sentinels):
    spans, current = {}, None
    for token in targets:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    assert all(spans.values()) and list(spans) == sentinels[: len(spans)]
    return [t for token in inputs for t in (spans[token] if token in sentinels else [token])], spans


def test_published_denoisers_and_their_counts():
    assert PUBLISHED == (
        ("R", 3.0, 0.15), ("R", 8.0, 0.15), ("S", 0.0, 0.25), ("X", 3.0, 0.5), ("X", 8.0, 0.5), ("X", 64.0, 0.15),
        ("X", 64.0, 0.5),
    )  # fmt: skip
    # One place goes to the mode token; the first denoiser leaves the longest inputs.
    length = row_length(512, PUBLISHED)
    assert length == lengths(511, 0.15, 3.0)[0] == 567
    assert counts(length, PUBLISHED) == [(85, 28), (85, 11), (142, 0), (284, 95), (284, 36), (85, 1), (284, 4)]


def test_every_row_is_one_of_the_denoisers_and_can_be_restored(objective, corrupt):
    rows = window_rows(objective, 14_000)
    batch = {name: np.asarray(value) for name, value in corrupt(jax.random.key(0), rows).items()}
    assert set(batch) == {"tokens", "segments", "decoder_tokens", "targets", "target_weights"}
    sentinels = objective.sentinels[:-3].tolist()
    assert (sentinels, objective.modes.tolist()) == ([39, 38, 37, 36, 35], [34, 34, 33, 32, 32, 32, 32])
    seen = {}
    for r, text in enumerate(rows["tokens"].tolist()):
        (mode, *inputs), targets = sides(batch, r)
        if mode == 33:
            restored, spans = inputs + targets, {}
            hidden = len(targets)
        else:
            restored, spans = expand(inputs, targets, sentinels)
            hidden = len(targets) - len(spans)
            assert inputs[0] not in sentinels and inputs[-1] == sentinels[len(spans) - 1]
        if r < 2000:
            assert restored == text
        seen[mode, hidden, len(spans)] = seen.get((mode, hidden, len(spans)), 0) + 1
    # In a row this short some denoisers hide alike: their shares add up.
    expected = {}
    for mode, (noise, spans) in zip(objective.modes.tolist(), counts(objective.rows.length, PUBLISHED), strict=True):
        expected[mode, noise, spans] = expected.get((mode, noise, spans), 0) + 2000
    assert set(seen) == set(expected) and len(expected) >= 4
    assert stats.chisquare([seen[key] for key in expected], list(expected.values())).pvalue > UNLIKELY


def test_masks_are_those_of_span_corruption(build):
    """Every way of cutting is as likely, as in the loop of test_span_corruption."""
    objective = build("ul2", data__sequence_length=9, objective__denoisers=(("X", 2.0, 0.45), ("S", 0.0, 0.25)))
    length = objective.rows.length
    noise, spans = noise_counts(length, 0.45, 2.0)
    assert (length, noise, spans) == (9, 4, 2)
    draw = jax.jit(jax.vmap(lambda key: objective.noise_mask(key, np.int32(noise), np.int32(spans))))
    masks, seen = np.unique(np.asarray(draw(jax.random.split(jax.random.key(1), 24_000))), axis=0, return_counts=True)
    assert (masks.sum(1) == 4).all() and not masks[:, 0].any() and masks[:, -1].all()
    assert len(masks) == 12 and stats.chisquare(seen).pvalue > UNLIKELY


def test_ways_of_cutting_are_equally_likely_whatever_the_bounds():
    draw = jax.jit(jax.vmap(lambda key, total, parts: random_lengths(key, total, parts, 10, 5), (0, None, None)))
    keys = jax.random.split(jax.random.key(0), 15_000)
    parts = np.asarray(draw(keys, np.int32(7), np.int32(3)))
    ways = [way for way in itertools.product(range(1, 6), repeat=3) if sum(way) == 7]
    seen = {tuple(way[:3]): n for way, n in zip(*np.unique(parts, axis=0, return_counts=True), strict=True)}
    assert not parts[:, 3:].any() and set(seen) == set(ways)
    assert stats.chisquare([seen[way] for way in ways]).pvalue > UNLIKELY
    for total, number in ((1, 1), (10, 1), (5, 5)):
        drawn = np.asarray(draw(keys[:1], np.int32(total), np.int32(number)))[0].tolist()
        assert drawn == ([total] if number == 1 else [1] * 5) + [0] * (5 - number)


def test_rows_fill_the_inputs_of_the_denoiser_that_hides_least():
    for inputs in range(6, 200):
        length = row_length(inputs, PUBLISHED)
        sizes = [length - noise + spans + 2 for noise, spans in counts(length, PUBLISHED)]
        assert max(sizes) <= inputs
        longer = [length + 1 - noise + spans + 2 for noise, spans in counts(length + 1, PUBLISHED)]
        assert max(longer) > inputs


def test_a_decoder_reads_both_without_a_gap(build, objective, corrupt):
    decoder = build("ul2", data__sequence_length=LENGTH, model={"architecture": "decoder"})
    rows, key = window_rows(objective, 4), jax.random.key(3)
    one = {name: np.asarray(value) for name, value in jax.jit(decoder.corrupt)(key, rows).items()}
    two = {name: np.asarray(value) for name, value in corrupt(key, rows).items()}
    assert one["tokens"].shape[1] < two["tokens"].shape[1] + two["targets"].shape[1] - 1
    for r in range(4):
        inputs, targets = sides(two, r)
        whole = [*inputs, EOS, *targets, EOS]
        assert one["tokens"][r].tolist()[: len(whole) - 1] == whole[:-1]
        scored = np.flatnonzero(one["target_weights"][r])
        assert one["targets"][r][scored].tolist() == [*targets, EOS]
        assert (one["ranks"][r] == 0).sum() == len(inputs) + 1


def test_a_final_sentinel_closes_all_but_continuations(build):
    objective = build("ul2", data__sequence_length=LENGTH, objective__final_sentinel=True)
    rows = window_rows(objective, 64)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(0), rows).items()}
    sentinels = objective.sentinels[:-3].tolist()
    for r in range(64):
        (mode, *inputs), targets = sides(batch, r)
        shown = [token for token in inputs if token in sentinels]
        assert (targets[-1] == sentinels[len(shown)]) if mode != 33 else not set(targets) & set(sentinels)


def test_bits_depend_on_key_and_place_only(objective, corrupt):
    rows, key = window_rows(objective, 4), jax.random.key(4)
    whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
    swapped = corrupt(key, {name: value[::-1] for name, value in rows.items()})
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[::-1], swapped[name])
    assert (whole["tokens"] != other["tokens"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective__denoisers": ()}, "objective.denoisers is empty"),
        ({"objective__denoisers": (("R", None, 0.15),)}, "each item a list of 3: .*, a finite number"),
        ({"objective__denoisers": (("R", 3.0, "0.15"),)}, "each item a list of 3: .*, a finite number"),
        ({"objective__denoisers": ((["R"], 3.0, 0.15),)}, "each item a list of 3: a text of one line"),
        ({"objective__denoisers": (("Q", 3.0, 0.15),)}, "the mode being one of R, S, X"),
        ({"objective__denoisers": (("R", 3.0),)}, "each item a list of 3"),
        ({"objective__denoisers": (("R", 3.0, 1.0),)}, r"the share of .* must be more than 0 and less than 1"),
        ({"objective__denoisers": (("X", 0.5, 0.5),)}, "must be at least 1"),
        ({"objective__denoisers": (("X", 1.0, 0.7),)}, "raise the mean"),
        ({"data__sequence_length": 5}, "at least 6"),
        ({"data__sequence_length": 64}, r"need \d+ sentinels and three more for the modes, the tokenizer has 8"),
        ({"data__target_length": 8}, "set it to 12 or more"),
        ({"data__packing": "sentences"}, "data.packing=sentences does not go"),
        ({"data__sequence_length": 16, "model": {"longest_row": 10}}, "model.max_positions=16"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("ul2", **{"data__sequence_length": LENGTH} | options)


def test_tokenizers_without_needed_tokens_are_refused(build, tables):
    for missing in ("eos", "pad"):
        with pytest.raises(ConfigError, match=rf"special token {missing}, .*tokenizer.sentinels=100"):
            build("ul2", tables=tables(**{missing: None}))
