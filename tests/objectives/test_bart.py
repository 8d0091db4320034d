"""BART's five noises: exact shares, uniform choices, the reference's spans by a loop, and a frame that stays."""

import itertools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze.errors import ConfigError
from cloze.objectives import bart_noise

CLS, MASK, EOS, PAD = 2, 4, 5, 0
LENGTH = 26
DRAWS = 2500  # of the loop
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less
OFF = dict(
    objective__permute_sentences=0.0, objective__infill_rate=0.0, objective__token_mask_rate=0.0,
    objective__delete_rate=0.0, objective__rotate_share=0.0,
)  # fmt: skip
NOISES = {
    "permute": dict(objective__permute_sentences=1.0),
    "infill": dict(objective__infill_rate=0.3),
    "mask": dict(objective__token_mask_rate=0.2),
    "delete": dict(objective__delete_rate=0.2),
    "rotate": dict(objective__rotate_share=0.5),
    "all": dict(
        objective__permute_sentences=0.5, objective__infill_rate=0.3, objective__token_mask_rate=0.1,
        objective__delete_rate=0.1, objective__rotate_share=0.5,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def words(tables):
    """Tables in which every third id continues a word."""
    made = tables()
    made.starts_word[:] = (np.arange(40) % 3 > 0) & ~made.special
    return made


@pytest.fixture(scope="module")
def made(build, words):
    """{noise: (objective, jitted corruption)} over rows of sentences, so that they may be ragged."""
    found = {}
    for name, options in NOISES.items():
        options = OFF | options | dict(data__sequence_length=LENGTH, data__packing="sentences")
        objective = build("bart", tables=words, **options)
        found[name] = objective, jax.jit(objective.corrupt)
    return found


def rows_of(lengths, seed=0):
    """Framed rows of distinct text tokens (up to 24), sentences of about four; `lengths` with the frame."""
    rng = np.random.default_rng(seed)
    tokens, flags = np.zeros((2, len(lengths), LENGTH), np.int32)
    for r, n in enumerate(lengths):
        tokens[r, :n] = [CLS, *(rng.permutation(25)[: max(n - 2, 0)] + 6), EOS][:n]
        flags[r] = (rng.random(LENGTH) < 0.25) & (np.arange(LENGTH) < n - 1) & (np.arange(LENGTH) > 0)
    segments = (np.arange(LENGTH) < np.array(lengths)[:, None]).astype(np.int32)
    return {"tokens": tokens, "flags": flags, "segments": segments, "row": np.arange(len(lengths), dtype=np.int32)}


def shown(batch, r):
    """The inputs of a row without padding."""
    n = int(batch["segments"][r].sum())
    assert not batch["tokens"][r, n:].any() and batch["segments"][r, :n].all()
    return batch["tokens"][r, :n].tolist()


def subsequence(part, whole):
    rest = iter(whole)
    return all(token in rest for token in part)


@hypothesis.given(st.lists(st.integers(2, LENGTH), min_size=4, max_size=4))
@hypothesis.example([2, 3, 4, LENGTH])
@hypothesis.settings(deadline=None, max_examples=20)
def test_the_frame_stays_and_targets_are_the_text(made, lengths):
    rows, key = rows_of(lengths, seed=lengths[0]), jax.random.key(lengths[1])
    for name, (_, corrupt) in made.items():
        batch = {field: np.asarray(value) for field, value in corrupt(key, rows).items()}
        np.testing.assert_array_equal(batch["targets"], rows["tokens"])
        np.testing.assert_array_equal(batch["target_weights"], rows["segments"])
        assert (batch["decoder_tokens"][:, 0] == EOS).all()
        np.testing.assert_array_equal(batch["decoder_tokens"][:, 1:], rows["tokens"][:, :-1])
        for r, n in enumerate(lengths):
            text, noisy = rows["tokens"][r, 1 : n - 1].tolist(), shown(batch, r)
            assert (noisy[0], noisy[-1]) == (CLS, EOS) and not {PAD, CLS, EOS} & set(noisy[1:-1])
            noisy = noisy[1:-1]
            left = [token for token in noisy if token != MASK]
            assert len(noisy) <= LENGTH - 2 and len(set(left)) == len(left) and set(left) <= set(text)
            if name in ("permute", "rotate"):
                assert sorted(noisy) == sorted(text)
            if name in ("infill", "mask", "delete"):
                assert subsequence(left, text)
            if name == "mask":
                assert len(noisy) == len(text) and noisy.count(MASK) == math.ceil(round(0.2 * len(text), 9))
            if name == "delete":
                assert len(text) - len(noisy) == math.ceil(round(0.2 * len(text), 9)) and MASK not in noisy


def test_rows_of_padding_are_not_scored(made):
    for _, corrupt in made.values():
        assert not np.asarray(corrupt(jax.random.key(0), rows_of([0, 1, 2, 3]))["target_weights"])[0].any()


def copies(count, length=LENGTH, seed=0):
    """The same row many times."""
    rows = {name: np.repeat(value, count, axis=0) for name, value in rows_of([length], seed).items()}
    return rows | {"row": np.arange(count, dtype=np.int32)}


def test_all_orders_of_sentences_are_equally_likely(made):
    rows = copies(12_000, 14)
    rows["flags"][:] = 0
    rows["flags"][:, [2, 5, 6]] = 7  # sentences of 2, 3, 1 and, without an end, 6 tokens; other bits mean nothing
    text = rows["tokens"][0]
    batch = {name: np.asarray(x) for name, x in made["permute"][1](jax.random.key(1), rows).items()}
    sentences = [text[1:3], text[3:6], text[6:7], text[7:13]]
    orders = {}
    for order in itertools.permutations(range(4)):
        row = np.concatenate([text[:1], *(sentences[i] for i in order), text[13:]])
        orders[order] = int((batch["tokens"] == row).all(axis=1).sum())
    assert sum(orders.values()) == 12_000 and stats.chisquare(list(orders.values())).pvalue > UNLIKELY


def test_a_share_of_the_sentences_changes_places(build):
    options = OFF | dict(objective__permute_sentences=0.5, data__sequence_length=LENGTH)
    objective = build("bart", **options)
    rows = copies(12_000)
    del rows["segments"]
    rows["flags"][:] = 0
    rows["flags"][:, 1:6] = 1  # five of one token and the rest: three of six change places
    batch = {name: np.asarray(x) for name, x in jax.jit(objective.corrupt)(jax.random.key(2), rows).items()}
    assert "segments" not in batch
    # The rest is one long sentence: where it stays, the others are in places of their own.
    stays = (batch["tokens"][:, 6:] == rows["tokens"][:, 6:]).all(1)
    moved = (batch["tokens"] != rows["tokens"])[stays].sum(1)
    seen = np.bincount(moved, minlength=4)
    # It is not among the three, or it is and keeps its place. Three: 1/6 stay, 3/6 swap two, 2/6 turn round; two: 1/2.
    outside, inside = 1 / 2, 1 / 2 / 3
    expected = np.array([outside / 6 + inside / 2, 0, outside / 2 + inside / 2, outside / 3])
    assert seen[1] == 0 and len(seen) == 4
    assert stats.chisquare(seen[[0, 2, 3]], expected[[0, 2, 3]] / expected.sum() * seen.sum()).pvalue > UNLIKELY
    assert stats.binomtest(int(stays.sum()), 12_000, outside + inside).pvalue > UNLIKELY


@pytest.mark.parametrize("name", ["mask", "delete"])
def test_places_are_uniform(made, name):
    rows = copies(4096)
    noisy = np.asarray(made[name][1](jax.random.key(3), rows)["tokens"])
    left = np.array([(noisy == token).any(axis=1).sum() for token in rows["tokens"][0, 1:-1]])
    assert 4096 * 24 - left.sum() == 4096 * 5  # the next whole number above 4.8
    assert stats.chisquare(4096 - left).pvalue > UNLIKELY


def test_rotation_begins_anywhere(made):
    rows = copies(8192)
    noisy = np.asarray(made["rotate"][1](jax.random.key(4), rows)["tokens"])
    text = rows["tokens"][0]
    first = np.array([int(np.flatnonzero(text == token)[0]) for token in noisy[:, 1]])
    for r in range(200):
        np.testing.assert_array_equal(noisy[r, 1:-1], np.roll(text[1:-1], 1 - first[r]))
    seen = np.bincount(first, minlength=LENGTH)[1:-1]
    assert stats.binomtest(int(seen[0]), 8192, 0.5 + 0.5 / 24).pvalue > UNLIKELY
    assert stats.chisquare(seen[1:]).pvalue > UNLIKELY


def reference_infill(rng, text, starts, rate, mean):
    """One text by loops: spans are drawn until the budget is spent, each from a random word on to the end of its
    words, a span of no words is a mask between any two tokens."""
    chances = np.array([math.exp(-mean) * mean**k / math.factorial(k) for k in range(18)])
    word_starts = [i for i, begins in enumerate(starts) if begins]
    budget = math.ceil(round(rate * len(word_starts), 9))
    lengths = []
    while sum(lengths) < budget:
        lengths.append(min(int(rng.choice(18, p=chances / chances.sum())), budget - sum(lengths)))
    inserts = lengths.count(0)
    spans = [length for length in lengths if length]
    marks = list(text)
    begins = [word_starts[i] for i in rng.permutation(len(word_starts))[: len(spans)]]
    for begin in begins:
        marks[begin] = "mask"
    for begin, length in zip(begins, spans, strict=True):
        at, words = begin + 1, length
        while at < len(text):
            words -= starts[at]
            if words <= 0:
                break
            marks[at] = None
            at += 1
    noisy = [mark for mark in marks if mark is not None]
    places = sorted(rng.permutation(len(noisy) + inserts)[:inserts])
    for place in places:
        noisy.insert(place, "mask")
    return noisy


def test_spans_are_distributed_as_a_loop_has_them(made, words):
    rows = copies(DRAWS, seed=3)
    text = rows["tokens"][0, 1:-1]
    starts = words.starts_word[text].tolist()
    batch = {name: np.asarray(x) for name, x in made["infill"][1](jax.random.key(5), rows).items()}
    rng = np.random.default_rng(6)
    ours = [shown(batch, r)[1:-1] for r in range(DRAWS)]
    theirs = [reference_infill(rng, text.tolist(), starts, 0.3, 3.0) for _ in range(DRAWS)]
    theirs = [[MASK if token == "mask" else token for token in row] for row in theirs]

    def compare(statistic):
        values = [np.array([statistic(row) for row in side]) for side in (ours, theirs)]
        table = np.stack([np.bincount(side, minlength=40) for side in values])
        table = table[:, table.sum(0) >= 20]
        assert table.shape[1] > 1 and stats.chi2_contingency(table).pvalue > UNLIKELY

    compare(len)
    compare(lambda row: row.count(MASK))
    compare(lambda row: sum(a == b == MASK for a, b in itertools.pairwise(row)))
    compare(lambda row: row.index(MASK))
    for token, after in zip(text.tolist(), text.tolist()[1:], strict=False):
        hidden = [sum(token not in row for row in side) for side in (ours, theirs)]
        both = [sum(token not in row and after not in row for row in side) for side in (ours, theirs)]
        for a, b in (hidden, both):
            assert stats.fisher_exact([[a, DRAWS - a], [b, DRAWS - b]]).pvalue > UNLIKELY


def test_lengths_are_poisson_until_the_budget_is_spent():
    distribution = bart_noise.poisson_shares(3.0)
    assert distribution[-1] == 1 and len(distribution) == 18  # 17 is the first below one in ten million
    np.testing.assert_allclose(distribution[:4], stats.poisson.cdf(np.arange(4), 3.0), atol=1e-6)
    draw = jax.vmap(lambda key: bart_noise.span_lengths(key, 40, 40, distribution))
    lengths, used = (np.asarray(x) for x in jax.jit(draw)(jax.random.split(jax.random.key(0), 4000)))
    assert ((lengths * used).sum(1) == 40).all() and (lengths >= 0)[used].all()
    first = np.bincount(lengths[:, :5].ravel(), minlength=20)[:9]  # these are cut in next to no row
    expected = stats.poisson.pmf(np.arange(9), 3.0)
    assert stats.chisquare(first, expected / expected.sum() * first.sum()).pvalue > UNLIKELY


@pytest.mark.parametrize("mean, budget", [(1.0, 1), (1.0, 40), (1.0, 300), (3.0, 300), (25.0, 30)])
def test_lengths_make_up_the_budget(mean, budget):
    distribution = bart_noise.poisson_shares(mean)
    draw = jax.jit(jax.vmap(lambda key: bart_noise.span_lengths(key, budget, budget, distribution)))
    lengths, used = (np.asarray(x) for x in draw(jax.random.split(jax.random.key(0), 4000)))
    assert ((lengths * used).sum(1) == budget).all()
    draws = bart_noise.draws_needed(budget, distribution)
    assert stats.poisson.cdf(budget - 1, draws * mean) < 1e-6
    assert draws == 1 or stats.poisson.cdf(budget - 1, (draws - 1) * mean) > 0.9e-7


def test_insertion_has_room_only_until_the_row_is_full():
    tokens = jnp.array([CLS, 7, 8, 9, EOS, 0, 0])
    for count, length in ((0, 5), (1, 6), (2, 7), (5, 7)):
        row, new = jax.jit(bart_noise.insert, static_argnums=4)(jax.random.key(0), tokens, 5, jnp.int32(count), MASK)
        row = row[:new].tolist()
        assert new == length and row.count(MASK) == length - 5
        assert [token for token in row if token != MASK] == [CLS, 7, 8, 9, EOS] and (row[0], row[-1]) == (CLS, EOS)


def test_shares_are_rounded_up():
    assert bart_noise.shares(10, 0.3).tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert bart_noise.shares(3, 1.0).tolist() == [0, 1, 2, 3]


def test_special_tokens_between_texts_stay(made):
    """Rows of sentences have one where documents meet."""
    rows = copies(4, seed=7)
    rows["tokens"][:, 10] = EOS
    for name in ("infill", "mask", "delete"):
        noisy = np.asarray(made[name][1](jax.random.key(7), rows)["tokens"])
        assert ((noisy == EOS).sum(1) == 2).all()


def test_no_span_crosses_a_special_token(made):
    """One document of a row's two never loses words to a mask in the other."""
    rows = copies(1000, seed=7)
    rows["tokens"][:, 10] = EOS
    noisy = {name: np.asarray(value) for name, value in made["infill"][1](jax.random.key(8), rows).items()}
    text, lost = rows["tokens"][0].tolist(), [0, 0]
    for r in range(1000):
        row = shown(noisy, r)
        between = row.index(EOS)
        for side, (now, before) in enumerate(((row[:between], text[:10]), (row[between:], text[10:]))):
            gone = set(before) - set(now)
            lost[side] += bool(gone)
            assert MASK in now or not gone
    assert min(lost) > 100


def test_bits_depend_on_key_and_place_only(made):
    rows, key = rows_of([26, 20, 26, 9]), jax.random.key(4)
    objective, corrupt = made["all"]
    whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
    swapped = corrupt(key, {name: value[::-1] for name, value in rows.items()})
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[::-1], swapped[name])
    assert (whole["tokens"] != other["tokens"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))


def test_declares_what_it_reads(build, tables, made):
    objective, _ = made["all"]
    assert (objective.rows.start, objective.rows.end, objective.rows.flags) == ((CLS,), (EOS,), True)
    assert (objective.decoder_start, objective.rows.kind, objective.outputs) == (EOS, "sentences", ("lm",))
    assert not made["infill"][0].rows.flags
    own = build("bart", tables=tables(bos=1))
    assert (own.rows.start, own.rows.kind) == ((1,), "windows")


@pytest.mark.parametrize(
    "options, message",
    [
        (OFF, "nothing to undo"),
        ({"objective__permute_sentences": 1.5}, r"objective.permute_sentences=1.5 must be at least 0 and at most 1"),
        ({"objective__infill_rate": 1.0}, r"objective.infill_rate=1.0 must be at least 0 and less than 1"),
        ({"objective__token_mask_rate": -0.1}, "objective.token_mask_rate=-0.1"),
        ({"objective__delete_rate": 1.0}, "objective.delete_rate=1.0"),
        ({"objective__rotate_share": 2.0}, "objective.rotate_share=2.0"),
        ({"objective__mean_span": 0.5}, "objective.mean_span=0.5 must be at least 1"),
        ({"objective__mean_span": 26.0}, "below data.sequence_length=26"),
        ({"data__sequence_length": 2}, "at least 3"),
        ({"data__target_length": 25}, "set it to 26 or more"),
        ({"data__packing": "documents"}, "data.packing=documents does not go"),
        ({"data__sequence_length": 513}, "model.max_positions=513"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("bart", **{"data__sequence_length": LENGTH} | options)


def test_tokenizers_without_needed_tokens_are_refused(build, tables):
    for missing in ("mask", "eos", "pad"):
        with pytest.raises(ConfigError, match=rf"special token {missing}, .*tokenizer.mask_token=true"):
            build("bart", tables=tables(**{missing: None}))
    with pytest.raises(ConfigError, match="begins a row, bos or cls: use tokenizer.kind=byte_bpe"):
        build("bart", tables=tables(cls=None))
