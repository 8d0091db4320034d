"""T5's spans: the reference's lengths, its distribution of masks, and nothing lost between inputs and targets."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from cloze.objectives.span_corruption import lengths, noise_counts, random_parts

EOS, PAD = 5, 0
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong distribution gives far less
SHAPES = [  # sequence length, density, mean span
    (32, 0.15, 3.0),
    (16, 0.5, 2.0),
    (8, 0.15, 3.0),
    (4, 0.15, 3.0),
    (20, 0.3, 2.5),
    (13, 0.4, 1.0),
]


def make(build, shape, **options):
    length, density, mean_span = shape
    return build(
        "span_corruption",
        data__sequence_length=length,
        objective__mask_rate=density,
        objective__mean_span=mean_span,
        **options,
    )


def rows_of(objective, count):
    tokens = np.random.default_rng(0).integers(6, 32, (count, objective.rows.length), dtype=np.int32)
    return {"tokens": tokens, "row": np.arange(count, dtype=np.int32)}


def expand(inputs, targets, sentinels):
    """Puts what stands after each sentinel in the targets in the sentinel's place in the inputs."""
    spans, current = {}, None
    for token in targets:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    assert all(spans.values())
    return [t for token in inputs for t in (spans[token] if token in sentinels else [token])], list(spans)


@pytest.mark.parametrize(
    "arguments,expected",
    [
        ((512, 0.15, 3), (568, 114)),
        ((256, 0.15, 3), (284, 58)),
        ((128, 0.15, 3), (141, 29)),
        ((64, 0.15, 3), (70, 14)),
        ((1024, 0.15, 3), (1137, 229)),
        ((512, 0.15, 8), (588, 100)),
        ((512, 0.5, 3), (766, 512)),
        ((512, 0.5, 8), (908, 512)),
        ((512, 0.15, 64), (600, 92)),
    ],
)
def test_lengths_of_the_reference(arguments, expected):
    assert lengths(*arguments) == expected


@pytest.mark.parametrize("density,mean_span", [(0.15, 3.0), (0.5, 3.0), (0.5, 1.0), (0.3, 2.5), (0.8, 8.0)])
def test_lengths_fill_the_encoder_exactly(density, mean_span):
    for inputs_length in range(4, 130):
        tokens, targets = lengths(inputs_length, density, mean_span)
        noise, spans = noise_counts(tokens, density, mean_span)
        assert tokens - noise + spans + 1 == inputs_length and targets in (noise + spans + 1, noise + spans)


@pytest.mark.parametrize(
    "shape,final_sentinel,spare",
    [(shape, False, 0) for shape in SHAPES] + [(SHAPES[0], True, 0), (SHAPES[1], False, 3), (SHAPES[2], True, 3)],
)
def test_inputs_and_targets_together_hold_the_row(build, shape, final_sentinel, spare):
    tokens_length, targets_length = lengths(*shape)
    needed = targets_length + final_sentinel
    target_length = needed + spare if spare else None
    objective = make(build, shape, objective__final_sentinel=final_sentinel, data__target_length=target_length)
    assert (objective.rows.kind, objective.rows.length) == ("windows", tokens_length)
    rows = rows_of(objective, 8)
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(0), rows).items()}
    assert set(batch) == {"tokens", "decoder_tokens", "targets", "target_weights"}
    assert batch["tokens"].shape == (8, shape[0])
    assert batch["targets"].shape == batch["decoder_tokens"].shape == (8, needed + spare)
    noise, spans = noise_counts(tokens_length, *shape[1:])
    sentinels = objective.sentinels.tolist()
    for r in range(8):
        inputs, targets = batch["tokens"][r].tolist(), batch["targets"][r].tolist()
        assert targets[needed:] == [PAD] * spare and batch["target_weights"][r].tolist() == [1] * needed + [0] * spare
        assert inputs.pop() == EOS and targets[needed - 1] == EOS and EOS not in inputs + targets[: needed - 1]
        targets = targets[: needed - 1]
        if final_sentinel:
            assert targets.pop() == sentinels[spans]
        restored, order = expand(inputs, targets, sentinels)
        assert restored == rows["tokens"][r].tolist()
        assert order == sentinels[:spans] and [t for t in inputs if t in sentinels] == order
        assert len(targets) == noise + spans and inputs[0] not in sentinels and inputs[-1] == sentinels[spans - 1]
        assert batch["decoder_tokens"][r].tolist() == [PAD, *batch["targets"][r].tolist()[:-1]]


def test_sentinels_come_from_the_tokenizer_in_their_order(build, tables):
    sentinels = np.array([33, 39, 7, 38], np.int32)
    objective = make(build, (16, 0.5, 2.0), tables=tables(sentinels=np.arange(32, 40, dtype=np.int32)))
    assert objective.sentinels.tolist() == list(range(32, 40))
    few = make(build, (12, 0.3, 2.0), tables=tables(sentinels=sentinels))
    rows = {"tokens": np.full((1, few.rows.length), 20, np.int32), "row": np.zeros(1, np.int32)}
    batch = jax.jit(few.corrupt)(jax.random.key(0), rows)
    shown = [int(t) for t in batch["targets"][0] if t in sentinels]
    assert few.spans > 1 and shown == sentinels[: few.spans].tolist()


def test_ways_of_cutting_are_equally_likely():
    parts = jax.jit(jax.vmap(lambda key: random_parts(key, 7, 3)))(jax.random.split(jax.random.key(0), 20_000))
    ways = [way for way in itertools.product(range(1, 6), repeat=3) if sum(way) == 7]
    seen = {tuple(way): n for way, n in zip(*np.unique(np.asarray(parts), axis=0, return_counts=True), strict=True)}
    assert set(seen) == set(ways) and len(ways) == 15
    assert stats.chisquare([seen[way] for way in ways]).pvalue > UNLIKELY


@pytest.mark.parametrize("total", [1, 2, 5])
def test_cutting_into_one_or_all_is_fixed(total):
    assert random_parts(jax.random.key(0), total, 1).tolist() == [total]
    assert random_parts(jax.random.key(0), total, total).tolist() == [1] * total


def test_all_masks_of_a_short_row_are_equally_likely(build):
    objective = make(build, (8, 0.44, 2.0))
    assert (objective.rows.length, objective.noise, objective.spans) == (9, 4, 2)
    hidden, _ = jax.jit(jax.vmap(objective.noise_mask))(jax.random.split(jax.random.key(1), 24_000))
    # Two spans of 1 + 3, 2 + 2 or 3 + 1 hidden tokens, after 1 to 4 kept ones: 3 x 4 masks.
    masks, seen = np.unique(np.asarray(hidden), axis=0, return_counts=True)
    assert (masks.sum(1) == 4).all() and not masks[:, 0].any() and masks[:, -1].all()
    assert len(masks) == 12 and stats.chisquare(seen).pvalue > UNLIKELY


def reference_mask(rng, length, noise, spans):
    """The reference's way, one row at a time: shuffled marks of where a segment begins, then runs in turn."""

    def segments(items):
        marks = np.arange(items - 1) < spans - 1
        rng.shuffle(marks)
        return np.bincount(np.cumsum(np.concatenate([[0], marks])), minlength=spans)

    runs = np.stack([segments(length - noise), segments(noise)], axis=1).reshape(-1)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def test_masks_are_distributed_as_in_the_reference(build):
    objective = make(build, (32, 0.3, 3.0))
    shape, draws = (objective.rows.length, objective.noise, objective.spans), 4000
    hidden, _ = jax.jit(jax.vmap(objective.noise_mask))(jax.random.split(jax.random.key(2), draws))
    ours, rng = np.asarray(hidden), np.random.default_rng(3)
    theirs = np.stack([reference_mask(rng, *shape) for _ in range(draws)])
    for place in range(shape[0] - 1):
        for width in (1, 2):  # a place alone, and with its neighbour
            a, b = (mask[:, place : place + width].all(axis=1).sum() for mask in (ours, theirs))
            assert stats.fisher_exact([[a, draws - a], [b, draws - b]]).pvalue > UNLIKELY


@pytest.mark.parametrize("prefix", ["full", "causal"])
def test_a_decoder_reads_inputs_and_targets_without_a_gap(build, prefix):
    shape, decoder = (16, 0.5, 2.0), {"model": {"architecture": "decoder"}, "objective__prefix": prefix}
    two, one = make(build, shape), make(build, shape, data__target_length=40, **decoder)
    rows, key = rows_of(two, 4), jax.random.key(5)
    pairs, batch = jax.jit(two.corrupt)(key, rows), jax.jit(one.corrupt)(key, rows)
    whole = np.concatenate([pairs["tokens"], pairs["targets"]], axis=1)
    np.testing.assert_array_equal(batch["tokens"], whole[:, :-1])
    np.testing.assert_array_equal(batch["targets"], whole[:, 1:])
    places = np.arange(whole.shape[1] - 1)
    np.testing.assert_array_equal(batch["target_weights"], np.tile(places >= 15, (4, 1)))
    assert ("ranks" in batch) == (prefix == "full") and "segments" not in batch
    if prefix == "full":
        np.testing.assert_array_equal(batch["ranks"], np.tile(np.where(places < 16, 0, places), (4, 1)))


def test_bits_depend_on_key_and_place_only(build):
    objective = make(build, (32, 0.15, 3.0))
    corrupt, rows, key = jax.jit(objective.corrupt), rows_of(objective, 4), jax.random.key(4)
    whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
    part = corrupt(key, {name: value[2:4] for name, value in rows.items()})
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[2:4], part[name])
    assert (whole["tokens"] != other["tokens"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))
