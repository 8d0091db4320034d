"""Prepared corpora: what goes in comes out, from anywhere; interruption and damage are noticed."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloze import storage
from cloze.data import corpus, sentences
from cloze.data.corpus import BLOCK
from cloze.data.corpus_files import ENTITY, ENTITY_START, SENTENCE_END
from cloze.errors import DataError
from tests.data import fakes

RNG = np.random.default_rng(0)
SENTENCES = [
    [RNG.integers(60_000, size=RNG.integers(1, 40)).tolist() for _ in range(RNG.integers(1, 9))] for _ in range(90)
]
STREAM = np.array([token for document in SENTENCES for sentence in document for token in sentence])


def files(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return fakes.prepare(SENTENCES, tmp_path_factory.mktemp("cache"), part_tokens=3 * BLOCK // 2)


@given(st.text(alphabet="aB1.!?\"') \n\t\u201d\u3002", max_size=60))
def test_sentences_join_to_the_text_and_begin_with_white_space(text):
    pieces = sentences.split(text)
    assert "".join(pieces) == text
    assert all(piece and piece[0].isspace() for piece in pieces[1:])


@pytest.mark.parametrize(
    "text, expected",
    [
        ("It is. Is it? It is!", ["It is.", " Is it?", " It is!"]),
        ("Version 3.5 of e.g. this", ["Version 3.5 of e.g. this"]),
        ('He said "go." Then he went.', ['He said "go."', " Then he went."]),
        ("a heading\n\nand text", ["a heading", "\n\nand text"]),
        ("one line\nand the next", ["one line\nand the next"]),
        ("", []),
    ],
)
def test_where_sentences_end(text, expected):
    assert sentences.split(text) == expected


def test_whole_stream_and_boundaries(prepared):
    split = prepared.split("train")
    assert len(prepared.manifest["parts"]) > 3
    ids, flags = split.gather([0], [split.num_tokens])
    np.testing.assert_array_equal(ids, STREAM)
    assert ids.dtype == np.int32 and flags.dtype == np.uint8
    lengths = [len(sentence) for document in SENTENCES for sentence in document]
    np.testing.assert_array_equal(split.sentence_ends(), np.cumsum(lengths))
    np.testing.assert_array_equal(np.flatnonzero(flags & SENTENCE_END) + 1, np.cumsum(lengths))
    documents = np.cumsum([0] + [sum(map(len, document)) for document in SENTENCES])
    np.testing.assert_array_equal(split.document_offsets, documents)
    np.testing.assert_array_equal(split.counts, np.bincount(STREAM, minlength=60_000))
    assert prepared.manifest["splits"]["train"] == {
        "documents": len(SENTENCES),
        "tokens": len(STREAM),
        "sentences": len(lengths),
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(STREAM)), st.integers(0, 3 * BLOCK)), max_size=8))
def test_any_ranges(prepared, wanted):
    starts = [start for start, _ in wanted]
    stops = [min(start + size, len(STREAM)) for start, size in wanted]
    ids, flags = prepared.split("train").gather(starts, stops)
    expected = [STREAM[start:stop] for start, stop in zip(starts, stops, strict=True)]
    np.testing.assert_array_equal(ids, np.concatenate([*expected, STREAM[:0]]))
    whole = prepared.split("train").gather([0], [len(STREAM)])[1]
    expected = [whole[start:stop] for start, stop in zip(starts, stops, strict=True)]
    np.testing.assert_array_equal(flags, np.concatenate([*expected, whole[:0]]))


def test_ranges_outside_the_stream_are_refused(prepared):
    with pytest.raises(IndexError):
        prepared.split("train").gather([0], [len(STREAM) + 1])


def test_document_end_closes_the_last_sentence(tmp_path):
    split = fakes.prepare([[[1, 2], [3]], [[4]]], tmp_path, document_end=9).split("train")
    ids, flags = split.gather([0], [split.num_tokens])
    assert ids.tolist() == [1, 2, 3, 9, 4, 9]
    assert flags.tolist() == [0, 1, 0, 1, 0, 1]
    assert split.document_offsets.tolist() == [0, 4, 6]


def test_entities_are_flagged_where_they_are_asked_for(tmp_path):
    """Numbers are entities, and every token here is one, split by full stops."""
    documents = [[[1, 2], [3]], [[4]]]
    plain, flagged = (fakes.prepare(documents, tmp_path, entities=entities) for entities in (False, True))
    assert plain.directory != flagged.directory
    assert (plain.manifest["entities"], flagged.manifest["entities"]) == (False, True)
    (ids, flags), (flagged_ids, with_entities) = (made.split("train").gather([0], [4]) for made in (plain, flagged))
    assert ids.tolist() == flagged_ids.tolist() == [1, 2, 3, 4]
    assert flags.tolist() == [0, SENTENCE_END, SENTENCE_END, SENTENCE_END]
    assert (with_entities & SENTENCE_END).tolist() == flags.tolist()
    assert (with_entities - flags).tolist() == [ENTITY_START | ENTITY] * 4
    held_out = fakes.prepare(documents, tmp_path, entities=True, validation_share=1.0).split("validation")
    np.testing.assert_array_equal(held_out.gather([0], [4])[1], with_entities)
    closed = fakes.prepare(documents, tmp_path, entities=True, document_end=9).split("train")
    assert (closed.gather([0], [6])[1] & ENTITY > 0).tolist() == [True, True, True, False, True, False]


def test_without_entities_a_corpus_keeps_its_name():
    """What earlier versions have prepared is found again."""
    options = {"document_end": 5, "validation_share": 0.3}
    plain = corpus.fingerprint(fakes.Source(["1."]), fakes.Tokenizer(), **options)
    assert plain == "0ebd74d58b3f4762ca75d307bc4ba0ce"
    assert corpus.fingerprint(fakes.Source(["1."]), fakes.Tokenizer(), **options, entities=True) != plain


def test_large_vocabularies(tmp_path):
    source, ids = fakes.Source([fakes.text([[70_000, 65_535, 65_536, 3]])]), [70_000, 65_535, 65_536, 3]
    made = corpus.prepare(source, fakes.Tokenizer(70_001), tmp_path, document_end=None, validation_share=0.0)
    assert made.split("train").gather([0], [4])[0].tolist() == ids


def test_validation_share_is_held_out_by_text(tmp_path):
    documents = [[[number, number]] for number in range(10, 2010)]
    made = fakes.prepare(documents, tmp_path, validation_share=0.25)
    train, held_out = (set(made.split(name).gather([0], [made.split(name).num_tokens])[0]) for name in corpus.SPLITS)
    assert not train & held_out and len(train | held_out) == 2000
    assert abs(len(held_out) - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5
    fewer = fakes.prepare(documents[500:], tmp_path, validation_share=0.25)  # where a text goes depends on it alone
    ids, _ = fewer.split("validation").gather([0], [fewer.split("validation").num_tokens])
    assert set(ids) == {number for number in held_out if number >= 510}
    assert held_out and made.split("validation").counts.sum() == 2 * len(held_out)


@pytest.mark.parametrize("texts", [[], ["", "no token in here"]])
def test_empty_source(tmp_path, texts):
    with pytest.raises(DataError, match="list of texts"):
        corpus.prepare(fakes.Source(texts), fakes.Tokenizer(), tmp_path, document_end=7, validation_share=0.0)
    assert not list((tmp_path / "corpora").glob("*/"))


def test_empty_validation_is_an_error_only_when_asked_for(prepared):
    with pytest.raises(DataError, match="data.validation_share"):
        prepared.split("validation")


def test_documents_without_tokens_are_left_out(tmp_path):
    source = fakes.Source(["1 2.", "", "none", "3."])
    split = corpus.prepare(source, fakes.Tokenizer(), tmp_path, document_end=None, validation_share=0.0).split("train")
    assert split.document_offsets.tolist() == [0, 2, 3]


class Interrupted(Exception):
    pass


class FailingSource(fakes.Source):
    def documents(self, skip=0, pieces=None):
        self.skipped = skip
        for number, text in enumerate(super().documents(skip, pieces)):
            if number == 70:
                raise Interrupted
            yield text


def test_interrupted_preparation_goes_on_behind_the_last_whole_part(tmp_path):
    options = {"document_end": 5, "validation_share": 0.3, "part_tokens": 600}
    texts = [fakes.text(document) for document in SENTENCES]
    whole = corpus.prepare(fakes.Source(texts), fakes.Tokenizer(), tmp_path / "a", **options)
    failing = FailingSource(texts)
    with pytest.raises(Interrupted):
        corpus.prepare(failing, fakes.Tokenizer(), tmp_path / "b", **options)
    left = next((tmp_path / "b" / "corpora").glob("*/"))
    assert (left / "share-00000" / "part-00000.json").exists() and not (left / "manifest.json").exists()

    class Recording(fakes.Source):
        def documents(self, skip=0, pieces=None):
            self.skipped = skip
            return super().documents(skip, pieces)

    again = Recording(texts)
    resumed = corpus.prepare(again, fakes.Tokenizer(), tmp_path / "b", **options)
    assert again.skipped > 0
    assert files(resumed.directory) == files(whole.directory)


@pytest.mark.parametrize("victim", ["train-00001.documents.npy", "counts-0000*.npy", "part-00000.json"])
def test_changed_tables_of_parts_are_prepared_anew(tmp_path, victim):
    options = {"document_end": None, "validation_share": 0.0, "part_tokens": 600}
    texts = [fakes.text(document) for document in SENTENCES]
    with pytest.raises(Interrupted):
        corpus.prepare(FailingSource(texts), fakes.Tokenizer(), tmp_path, **options)
    path = next(tmp_path.glob(f"corpora/*/share-00000/{victim}"))
    content = bytearray(path.read_bytes())
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
    content[digits[1] if path.suffix == ".json" else -8] ^= 1
    path.write_bytes(content)
    messages = []
    made = corpus.prepare(fakes.Source(texts), fakes.Tokenizer(), tmp_path, report=messages.append, **options)
    assert "damaged" in messages[0] and "starting over" in messages[0], messages
    split = made.split("train")
    np.testing.assert_array_equal(split.gather([0], [len(STREAM)])[0], STREAM)
    np.testing.assert_array_equal(split.counts, np.bincount(STREAM, minlength=60_000))


def test_damaged_parts_are_prepared_anew(tmp_path):
    options = {"document_end": None, "validation_share": 0.0, "part_tokens": 600}
    texts = [fakes.text(document) for document in SENTENCES]
    with pytest.raises(Interrupted):
        corpus.prepare(FailingSource(texts), fakes.Tokenizer(), tmp_path, **options)
    shard = next(tmp_path.glob("corpora/*/share-00000/train-00000.array_record"))
    shard.write_bytes(shard.read_bytes()[:-100])
    made = corpus.prepare(fakes.Source(texts), fakes.Tokenizer(), tmp_path, **options)
    np.testing.assert_array_equal(made.split("train").gather([0], [len(STREAM)])[0], STREAM)


def test_a_prepared_corpus_is_reused(tmp_path):
    first = fakes.prepare(SENTENCES[:5], tmp_path)
    before = files(first.directory)

    class Silent(fakes.Source):
        def documents(self, skip=0, pieces=None):
            raise AssertionError("read again")

    texts = [fakes.text(document) for document in SENTENCES[:5]]
    options = {"document_end": None, "validation_share": 0.0}
    again = corpus.prepare(Silent(texts), fakes.Tokenizer(), tmp_path, **options)
    assert again.directory == first.directory and files(again.directory) == before
    with pytest.raises(AssertionError):  # any other setting is another corpus
        corpus.prepare(Silent(texts), fakes.Tokenizer(), tmp_path, **{**options, "document_end": 3})


@pytest.mark.parametrize("victim", ["train-00001.array_record", "train-documents.npy", "counts.npy"])
def test_truncated_and_missing_files_are_named(tmp_path, victim):
    directory = fakes.prepare(SENTENCES, tmp_path, part_tokens=600).directory
    size = (directory / victim).stat().st_size
    (directory / victim).write_bytes((directory / victim).read_bytes()[:-7])
    with pytest.raises(DataError, match=rf"{victim} holds {size - 7} bytes, expected {size} bytes; delete"):
        corpus.open(directory)
    (directory / victim).unlink()
    with pytest.raises(DataError, match=f"{victim} is missing"):
        corpus.open(directory)


@pytest.mark.parametrize("checksum", [True, False])
def test_a_changed_manifest_is_reported_or_without_effect(tmp_path, checksum):
    """Of earlier versions, whose manifests have no checksum, the numbers are held against the tables."""
    path = fakes.prepare(SENTENCES[:20], tmp_path, part_tokens=600).directory / "manifest.json"
    if not checksum:
        path.write_text(json.dumps(storage.read_checked(path)))
    whole, rng, caught = path.read_bytes(), np.random.default_rng(2), 0
    stream = STREAM[: corpus.open(path.parent).split("train").num_tokens]
    for place in rng.choice(len(whole), size=250, replace=False):
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            split = corpus.open(path.parent).split("train")
            ids, _ = split.gather([0], [split.num_tokens])
        except DataError as error:
            assert str(path.parent) in str(error) and "delete" in str(error)
            caught += 1
        else:
            np.testing.assert_array_equal(ids, stream)
            assert not checksum or json.loads(bytes(broken)) == json.loads(whole)  # white space
    assert caught > 60


def test_one_changed_digit_of_the_manifest_is_named(tmp_path):
    path = fakes.prepare(SENTENCES[:5], tmp_path).directory / "manifest.json"
    number = str(storage.read_checked(path)["splits"]["train"]["tokens"])
    path.write_text(path.read_text().replace(f'"tokens": {number}', f'"tokens": {int(number) - 1}', 1))
    with pytest.raises(DataError, match=f"{path} is damaged .its checksum differs.*delete {path.parent} and run again"):
        corpus.open(path.parent)


def test_bit_flips_are_reported_or_without_effect(tmp_path):
    made = fakes.prepare(SENTENCES, tmp_path)
    path = made.directory / "train-00000.array_record"
    whole, rng, caught = path.read_bytes(), np.random.default_rng(1), 0
    written = np.flatnonzero(np.frombuffer(whole, np.uint8))  # the format fills files up with zeros
    for place in rng.choice(written, size=30):
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            ids, _ = corpus.open(made.directory).split("train").gather([0], [len(STREAM)])
        except DataError as error:
            assert str(path) in str(error) and "delete" in str(error)
            caught += 1
        else:
            np.testing.assert_array_equal(ids, STREAM)  # in a file's first bytes, which are not read
    assert caught >= 25


def test_damaged_record_is_named(tmp_path):
    made = fakes.prepare([[np.random.default_rng(0).integers(60_000, size=40 * BLOCK)]], tmp_path)
    path = made.directory / "train-00000.array_record"
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 4] ^= 4  # the second half is filling
    path.write_bytes(broken)
    split = corpus.open(made.directory).split("train")
    with pytest.raises(DataError, match=r"record \d+ cannot be read") as caught:
        split.gather([0], [split.num_tokens])
    record = int(str(caught.value).split("record ")[-1].split()[0])
    with pytest.raises(DataError):
        split.gather([record * BLOCK], [record * BLOCK + 1])
    assert len(split.gather([0], [BLOCK])[0]) == BLOCK  # the rest can still be read


def test_changed_table_is_reported(tmp_path):
    directory = fakes.prepare(SENTENCES, tmp_path).directory
    table = bytearray((directory / "train-documents.npy").read_bytes())
    table[-8] ^= 1
    (directory / "train-documents.npy").write_bytes(table)
    with pytest.raises(DataError, match="checksum"):
        corpus.open(directory)


def test_other_formats_and_damaged_manifests_are_refused(tmp_path):
    with pytest.raises(DataError, match="manifest.json is missing"):
        corpus.open(tmp_path)
    directory = fakes.prepare(SENTENCES[:3], tmp_path).directory
    storage.write_checked(
        directory / "manifest.json", storage.read_checked(directory / "manifest.json") | {"format": 0}
    )
    with pytest.raises(DataError, match="format 0"):
        corpus.open(directory)
    (directory / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        corpus.open(directory)
