"""Salient spans: one of each sentence, each as likely, whole, and a row without any is not scored."""

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze.errors import ConfigError, DataError

EOS, PAD = 5, 0
LENGTH = 25  # of the inputs; rows have one token less
END, START, INSIDE = 1, 6, 4  # an entity's first token has both of its bits
UNLIKELY = 1e-6  # statistical tests have fixed seeds; a wrong share gives far less


@pytest.fixture(scope="module")
def objective(build):
    return build("salient_spans", data__sequence_length=LENGTH, data__packing="sentences")


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


def rows_of(flags, lengths, seed=0):
    size = (len(lengths), LENGTH - 1)
    segments = (np.arange(LENGTH - 1) < np.array(lengths)[:, None]).astype(np.int32)
    tokens = np.random.default_rng(seed).integers(6, 32, size, dtype=np.int32) * segments
    flags = np.asarray(flags, np.int32) * segments
    return {"tokens": tokens, "flags": flags, "segments": segments, "row": np.arange(len(lengths), dtype=np.int32)}


def random_flags(count, seed):
    """Entities of one to three tokens and ends of sentences, as the corpus flags them."""
    rng, flags = np.random.default_rng(seed), np.zeros((count, LENGTH - 1), np.int32)
    for r in range(count):
        at = int(rng.integers(0, 4))
        while at < LENGTH - 1:
            size = int(rng.integers(1, 4))
            flags[r, at : at + size] = INSIDE
            flags[r, at] = START
            at += size + int(rng.integers(0, 4))
        ends = np.flatnonzero(rng.random(LENGTH - 1) < 0.15)
        flags[r, [at for at in ends if at + 1 == LENGTH - 1 or flags[r, at + 1] != INSIDE]] |= END
    return flags


def spans_of(flags, length):
    """By a loop: the spans (first, last + 1) of each sentence that has any."""
    sentences, spans = [], []
    for at in range(length):
        if flags[at] & 2 or (flags[at] & INSIDE and at == 0):
            spans.append((at, at + 1))
        elif flags[at] & INSIDE and spans and spans[-1][1] == at:
            spans[-1] = (spans[-1][0], at + 1)
        if flags[at] & END or at == length - 1:
            sentences.append(spans)
            spans = []
    return [spans for spans in sentences if spans]


def sides(batch, r):
    inputs = batch["tokens"][r, : int(batch["segments"][r].sum())].tolist()
    targets = batch["targets"][r, : int(batch["target_weights"][r].sum())].tolist()
    assert inputs.pop() == EOS and (not targets or targets.pop() == EOS)
    return inputs, targets


@hypothesis.given(st.lists(st.integers(0, LENGTH - 1), min_size=4, max_size=4), st.integers(0, 1000))
@hypothesis.example([0, 1, 2, LENGTH - 1], 0)
@hypothesis.settings(deadline=None, max_examples=25)
def test_one_of_each_sentence_whole_and_in_order(objective, corrupt, lengths, seed):
    rows = rows_of(random_flags(4, seed), lengths, seed)
    batch = {name: np.asarray(value) for name, value in corrupt(jax.random.key(seed), rows).items()}
    sentinels = objective.sentinels.tolist()
    for r, n in enumerate(lengths):
        inputs, targets = sides(batch, r)
        text, sentences = rows["tokens"][r, :n].tolist(), spans_of(rows["flags"][r], n)
        # Walking through inputs and targets gives back the text, and where it was hidden.
        hidden, restored, rest = [], [], list(targets)
        for token in inputs:
            if token in sentinels:
                assert rest.pop(0) == token
                while rest and rest[0] not in sentinels:
                    hidden.append(len(restored))
                    restored.append(rest.pop(0))
            else:
                restored.append(token)
        assert restored == text and not rest
        left = objective.targets_length - 1
        for spans in sentences:
            drawn = [span for span in spans if span[0] in hidden]
            if left <= 3:  # a span may have been cut where there was no room
                break
            assert len(drawn) == 1 and set(range(*drawn[0])) <= set(hidden)
            left -= drawn[0][1] - drawn[0][0] + 1
        assert len(hidden) <= sum(max(stop - start for start, stop in spans) for spans in sentences)
        assert bool(targets) == bool(sentences) and bool(batch["target_weights"][r].any()) == bool(sentences)


def test_each_span_of_a_sentence_is_as_likely(corrupt):
    flags = np.zeros((9000, LENGTH - 1), np.int32)
    flags[:, [2, 5, 9]], flags[:, [6, 7]], flags[:, 12] = START, INSIDE, START | END
    flags[:, [14, 18]], flags[:, 20] = START, END
    rows = rows_of(flags, [LENGTH - 1] * 9000)
    rows["tokens"][:] = np.arange(LENGTH - 1) % 26 + 6
    targets = np.asarray(corrupt(jax.random.key(0), rows)["targets"])
    for sentence in ((2, 5, 9, 12), (14, 18)):
        times = [(targets == rows["tokens"][0, at]).any(axis=1).sum() for at in sentence]
        assert sum(times) == 9000 and stats.chisquare(times).pvalue > UNLIKELY
    first = (targets[:, 1] == rows["tokens"][0, 2]).astype(int)  # what is drawn of one sentence tells nothing of others
    second = (targets == rows["tokens"][0, 14]).any(axis=1).astype(int)
    assert stats.chi2_contingency(np.histogram2d(first, second, bins=2)[0]).pvalue > UNLIKELY


def test_special_tokens_are_kept_and_what_they_cut_off_is_hidden_alone(corrupt):
    flags = np.zeros((32, LENGTH - 1), np.int32)
    flags[:, 1], flags[:, 3], flags[:, 4] = START, START, END  # two in the first sentence
    flags[:, 6], flags[:, 7:9], flags[:, 9] = START, INSIDE, END  # one in the second; its first token is special
    flags[:, 11] = START  # one in the third, which is nothing but a special token
    rows = rows_of(flags, [LENGTH - 1] * 32)
    rows["tokens"][:, [6, 11]] = 2
    batch, drawn = {name: np.asarray(x) for name, x in corrupt(jax.random.key(0), rows).items()}, set()
    for r in range(32):
        inputs, targets = sides(batch, r)
        text = rows["tokens"][r].tolist()
        first = 1 if inputs[1] == 39 else 3
        assert targets == [39, text[first], 38, *text[7:9]]
        assert inputs == [*text[:first], 39, *text[first + 1 : 7], 38, *text[9:]]
        drawn.add(first)
    assert drawn == {1, 3}


def test_what_a_window_leaves_of_a_span_is_one(corrupt):
    flags = np.zeros((1, LENGTH - 1), np.int32)
    flags[0, :2] = INSIDE
    rows = rows_of(flags, [LENGTH - 1])
    _, targets = sides({name: np.asarray(x) for name, x in corrupt(jax.random.key(0), rows).items()}, 0)
    assert targets == [39, *rows["tokens"][0, :2]]


def test_a_corpus_without_names_is_refused(objective):
    none, one = (rows_of(np.full((2, LENGTH - 1), flag), [LENGTH - 1] * 2) for flag in (END, START))
    objective.check_rows(lambda step: one if step == 5 else none)
    with pytest.raises(DataError, match="no name, date or number .* nothing to hide: give text"):
        objective.check_rows(lambda step: none)


def test_rows_without_any_are_whole_and_not_scored(corrupt):
    rows = rows_of(np.ones((2, LENGTH - 1)), [LENGTH - 1, 3])
    batch = {name: np.asarray(value) for name, value in corrupt(jax.random.key(0), rows).items()}
    assert not batch["target_weights"].any()
    np.testing.assert_array_equal(batch["tokens"][:, :3], rows["tokens"][:, :3])


def test_what_has_no_room_is_kept(build):
    objective = build("salient_spans", data__sequence_length=LENGTH, data__target_length=6)
    flags = np.full((4, LENGTH - 1), START | END)
    rows = rows_of(flags, [LENGTH - 1] * 4)
    del rows["segments"]
    batch = {name: np.asarray(value) for name, value in jax.jit(objective.corrupt)(jax.random.key(0), rows).items()}
    # Neighbours become one run: its sentinel, four tokens, the end.
    np.testing.assert_array_equal(batch["targets"][:, 1:5], rows["tokens"][:, :4])
    np.testing.assert_array_equal(batch["tokens"][:, 1:21], rows["tokens"][:, 4:])
    assert (batch["targets"][:, 5] == EOS).all() and batch["target_weights"].all()


def test_bits_depend_on_key_and_place_only(objective, corrupt):
    rows, key = rows_of(random_flags(4, 1), [24, 20, 24, 9]), jax.random.key(4)
    whole, again, other = corrupt(key, rows), corrupt(key, rows), corrupt(jax.random.fold_in(key, 1), rows)
    part = corrupt(key, {name: value[2:4] for name, value in rows.items()})
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array[2:4], part[name])
    assert (whole["tokens"] != other["tokens"]).any()
    assert "callback" not in str(jax.make_jaxpr(objective.corrupt)(key, rows))


def test_declares_what_it_reads(build):
    rows = build("salient_spans", data__sequence_length=LENGTH).rows
    assert (rows.kind, rows.length, rows.flags, rows.entities) == ("windows", LENGTH - 1, True, True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data__sequence_length": 5}, "at least 6"),
        ({"data__target_length": 2}, "set it to 3 or more"),
        ({"data__packing": "documents"}, "data.packing=documents does not go"),
        ({"data__sequence_length": 513}, "model.max_positions=513"),
    ],
)
def test_bad_configurations_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("salient_spans", **options)


def test_tokenizers_without_needed_tokens_are_refused(build, tables):
    for missing in ("eos", "pad"):
        with pytest.raises(ConfigError, match=rf"special token {missing}, .*tokenizer.sentinels=100"):
            build("salient_spans", tables=tables(**{missing: None}))
    with pytest.raises(ConfigError, match="needs sentinels, the tokenizer has 0"):
        build("salient_spans", tables=tables(sentinels=[]))
