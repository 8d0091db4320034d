"""Sentence pairs: which stretches of text, how often, and how long."""

import hashlib

import numpy as np
import pytest

from cloze.data.pairs import Pairs, _shorten
from cloze.errors import ConfigError, DataError
from tests.data import fakes

CLS, SEP, PAD, LENGTH = 1, 2, 3, 32
RNG = np.random.default_rng(0)


def numbered_documents(count, sentences, words):
    """Documents over consecutive ids from 10: what is next to what can be read off the tokens."""
    documents, token = [], 10
    for _ in range(count):
        document = []
        for _ in range(RNG.integers(*sentences)):
            size = RNG.integers(*words)
            document.append(list(range(token, token + size)))
            token += size
        documents.append(document)
    return documents


DOCUMENTS = numbered_documents(200, (1, 30), (1, 16))
DOCUMENT_OF = np.concatenate([[-1] * 10] + [[k] * sum(map(len, d)) for k, d in enumerate(DOCUMENTS)])
SENTENCE_STARTS = {sentence[0] for document in DOCUMENTS for sentence in document}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return fakes.prepare(DOCUMENTS, tmp_path_factory.mktemp("cache")).split("train")


def pairs(split, length=LENGTH, short_pair_rate=0.1, seed=0, **options):
    options["short_pair_rate"] = short_pair_rate
    return Pairs(length=length, start=(CLS,), end=(SEP,), pad=PAD, **options).plan(split, seed=seed)


def read(source, epoch=0):
    """All rows of an epoch, and A and B of each as lists of tokens."""
    rows = source.rows(np.arange(source.num_rows), np.full(source.num_rows, epoch))
    texts = []
    for tokens, types, segments in zip(rows["tokens"], rows["token_types"], rows["segments"], strict=True):
        used = int(segments.sum())
        (seps,) = np.nonzero(tokens[:used] == SEP)
        assert tokens[0] == CLS and len(seps) == 2 and seps[1] == used - 1
        assert (segments[:used] == 1).all() and (tokens[used:] == PAD).all()
        np.testing.assert_array_equal(np.flatnonzero(types), np.arange(seps[0] + 1, used))
        texts.append((tokens[1 : seps[0]].tolist(), tokens[seps[0] + 1 : used - 1].tolist()))
    return rows, texts


@pytest.fixture(scope="module", params=[False, True], ids=["next", "order"])
def sample(request, split):
    rows, texts = read(pairs(split, swapped=request.param))
    return request.param, rows, texts


def test_shapes_and_lengths(sample):
    _, rows, texts = sample
    assert all(value.dtype == np.int32 for value in rows.values())
    assert rows["tokens"].shape == rows["segments"].shape == rows["token_types"].shape == (len(texts), LENGTH)
    assert rows["labels"].shape == (len(texts),) and set(rows["labels"]) == {0, 1}
    for a, b in texts:
        assert a and b and len(a) + len(b) <= LENGTH - 3
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
    full = np.mean([len(a) + len(b) == LENGTH - 3 for a, b in texts])
    assert full > 0.5


def test_labels_tell_where_b_comes_from(sample):
    swapped, rows, texts = sample
    for label, (a, b) in zip(rows["labels"], texts, strict=True):
        same = DOCUMENT_OF[a[0]] == DOCUMENT_OF[b[0]]
        if swapped:
            assert same and (a[0] > b[-1]) == label
        else:
            assert same == (label == 0)
            assert label or a[-1] < b[0]
    # Where nothing was cut off, a true B follows A at once and begins a sentence.
    whole = [
        (a, b) for label, (a, b) in zip(rows["labels"], texts, strict=True) if not label and len(a + b) < LENGTH - 3
    ]
    assert len(whole) > 20 and all(a[-1] + 1 == b[0] and b[0] in SENTENCE_STARTS for a, b in whole)


def test_shares(split):
    swapped = np.concatenate([read(pairs(split, swapped=True), epoch)[0]["labels"] for epoch in range(8)])
    assert abs(swapped.mean() - 0.5) < 4 * 0.5 / len(swapped) ** 0.5
    random_next = np.concatenate([read(pairs(split), epoch)[0]["labels"] for epoch in range(8)])
    assert 0.5 < random_next.mean() < 0.65  # a chunk of one sentence always takes a random B


def test_a_negative_is_as_frequent_as_asked_for(split):
    """With two sentences at least in every chunk, each label is one coin."""
    for rate in (0.0, 0.3, 1.0):
        drawn = [read(pairs(split, random_rate=rate, two_sentences=True), epoch)[0]["labels"] for epoch in range(4)]
        labels = np.concatenate(drawn)
        assert abs(labels.mean() - rate) <= 4 * (rate * (1 - rate) / len(labels)) ** 0.5
    with_lone = read(pairs(split, random_rate=0.0))[0]["labels"]
    assert 0 < with_lone.mean() < 0.3  # lone sentences have no other way


def test_two_sentences_leave_lone_ones_out(tmp_path):
    documents = [[[10, 11]], [[12], [13], [14, 15]], [[16]], [[17], [18]]]
    made = fakes.prepare(documents, tmp_path).split("train")
    _, texts = read(pairs(made, random_rate=0.0, two_sentences=True))
    assert sorted(a + b for a, b in texts) == [[12, 13, 14, 15], [17, 18]]
    alone = fakes.prepare([[[10, 11], [12]]], tmp_path).split("train")
    assert read(pairs(alone, random_rate=0.0, two_sentences=True))[1] == [([10, 11], [12])]


@pytest.mark.parametrize(
    "swapped, num_rows, digest",
    [(False, 259, "0be54474b7cbb9a2f47ab8906a95aeb0"), (True, 168, "a04c91f97a8ee8a00f2695e4bf3e565f")],
)
def test_draws_stay_what_they_were(tmp_path, swapped, num_rows, digest):
    """A run that is resumed with a later version of the code goes on with the same rows."""
    rng, documents, token = np.random.default_rng(0), [], 10
    for _ in range(60):
        document = []
        for _ in range(rng.integers(1, 20)):
            size = int(rng.integers(1, 16))
            document.append(list(range(token, token + size)))
            token += size
        documents.append(document)
    made = fakes.prepare(documents, tmp_path).split("train")
    source, found = pairs(made, short_pair_rate=0.1, swapped=swapped, seed=3), hashlib.sha256()
    for epoch in (0, 1):
        rows = source.rows(np.arange(source.num_rows), np.full(source.num_rows, epoch))
        for key in sorted(rows):
            found.update(rows[key].tobytes())
    assert (source.num_rows, found.hexdigest()[:32]) == (num_rows, digest)


def test_unused_sentences_are_put_back(tmp_path):
    """With sentences of one length, next sentence prediction uses every sentence of a document but truncated ones."""
    documents, token = [], 10
    for _ in range(30):
        documents.append([list(range(token + 4 * k, token + 4 * k + 4)) for k in range(25)])
        token += 100
    source = pairs(fakes.prepare(documents, tmp_path).split("train"), length=4 * 7 + 3, short_pair_rate=0.0)
    rows, texts = read(source)
    used = [a + (b if label == 0 else []) for label, (a, b) in zip(rows["labels"], texts, strict=True)]
    seen = np.sort(np.concatenate(used))
    assert (np.diff(seen) > 0).all()  # nothing twice
    assert len(seen) > 0.97 * 3000


def test_short_targets(split):
    mean = {rate: np.mean([len(a + b) for a, b in read(pairs(split, short_pair_rate=rate))[1]]) for rate in (0.0, 1.0)}
    assert mean[1.0] < 0.75 * mean[0.0]


def test_random_sentences_come_from_everywhere(split):
    rows, texts = read(pairs(split))
    others = {DOCUMENT_OF[b[0]] for label, (_, b) in zip(rows["labels"], texts, strict=True) if label}
    assert len(others) > 100


def test_every_epoch_is_planned_anew_and_repeatably(split):
    source, again = pairs(split, seed=5), pairs(split, seed=5)
    first, second = read(source, 0)[0], read(source, 1)[0]
    assert first["tokens"].shape == second["tokens"].shape
    assert (first["tokens"] != second["tokens"]).any(axis=1).mean() > 0.5
    np.testing.assert_array_equal(read(again, 1)[0]["tokens"], second["tokens"])  # without epoch 0 before
    np.testing.assert_array_equal(read(source, 0)[0]["tokens"], first["tokens"])
    other = read(pairs(split, seed=6))[0]["tokens"]
    n = min(len(other), len(first["tokens"]))
    assert (other[:n] != first["tokens"][:n]).any()


def test_later_epochs_keep_nearly_all_of_their_plan(split):
    source = pairs(split)
    for epoch in range(1, 6):
        rows, texts = read(source, epoch)
        assert len(texts) == source.num_rows
        distinct = {(*a, 0, *b) for a, b in texts}
        assert len(distinct) > 0.9 * source.num_rows


def test_a_batch_may_span_epochs(split):
    source = pairs(split)
    indices, epochs = np.array([4, 0, 4, 7]), np.array([1, 0, 0, 1])
    mixed = source.rows(indices, epochs)
    for place, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
        alone = source.rows([index], [epoch])
        for key in mixed:
            np.testing.assert_array_equal(mixed[key][place], alone[key][0])


@pytest.mark.parametrize("a_size, b_size", [(40, 3), (3, 40), (20, 20), (21, 20), (20, 21), (5, 6), (1, 60), (29, 1)])
def test_shortening_takes_from_the_longer_one_token_at_a_time(a_size, b_size):
    import random

    sizes = [a_size, b_size]
    while sum(sizes) > 29:
        sizes[0 if sizes[0] > sizes[1] else 1] -= 1
    fronts = []
    for seed in range(200):
        a0, a1, b0, b1 = _shorten((0, a_size), (100, 100 + b_size), 29, random.Random(seed))
        assert [a1 - a0, b1 - b0] == sizes
        assert 0 <= a0 <= a1 <= a_size and 100 <= b0 <= b1 <= 100 + b_size
        fronts.append(a0 + b0 - 100)
    removed = a_size + b_size - sum(sizes)
    assert abs(np.mean(fronts) - removed / 2) <= 4 * (removed / 4 / 200) ** 0.5


def test_errors_name_the_cause(tmp_path, split):
    alone = fakes.prepare([[[10, 11], [12]]], tmp_path).split("train")
    with pytest.raises(DataError, match="objective.pairs"):
        pairs(alone)
    assert pairs(alone, swapped=True).num_rows == 1
    with pytest.raises(DataError, match="two sentences"):
        pairs(fakes.prepare([[[10, 11]], [[12]]], tmp_path).split("train"), swapped=True)
    with pytest.raises(ConfigError, match="data.sequence_length"):
        pairs(split, length=4)
    with pytest.raises(ConfigError, match="tokenizer.kind"):
        Pairs(length=32).plan(split)
