"""A source that is cut into shares: whoever prepares them, and however often that is interrupted, the corpus is one."""

import multiprocessing
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloze import storage
from cloze.data import corpus, preparation
from cloze.data.sources import Piece
from cloze.errors import DataError
from tests.data import fakes

RNG = np.random.default_rng(3)
TEXTS = [fakes.text([RNG.integers(60_000, size=RNG.integers(1, 90)) for _ in range(3)]) for _ in range(60)]
TEXTS[20:25] = ["none"] * 5  # a share in which nothing is a token
OPTIONS = {"document_end": 5, "validation_share": 0.2, "part_tokens": 300}


class Source(fakes.Source):
    """Counts the documents that are read; `stop`: where reading fails; `seconds`: that a document takes."""

    def __init__(self, texts=TEXTS, stop=None, seconds=0.0):
        super().__init__(texts)
        self.read, self._stop, self._seconds = 0, stop, seconds

    def documents(self, skip=0, pieces=None):
        for text in super().documents(skip, pieces):
            if self.read == self._stop:
                raise InterruptedError
            self.read += 1
            time.sleep(self._seconds)
            yield text


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def prepare(directory, source=None, report=lambda line: None):
    return corpus.prepare(source or Source(), fakes.Tokenizer(), directory, report=report, **OPTIONS)


def small_shares(patch):
    """The pieces of the fakes are documents of one byte: shares of 5, of which there are 12."""
    patch.setattr(preparation, "SHARE_BYTES", 5)
    patch.setattr(preparation, "_SHARES_PER_SIZE", 1000)


@pytest.fixture
def shares(monkeypatch):
    small_shares(monkeypatch)


@pytest.fixture(scope="module")
def one_alone(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        small_shares(patched)
        made = prepare(tmp_path_factory.mktemp("alone"))
    assert len(made.manifest["parts"]) > 12
    return made.directory


@pytest.fixture
def alone(shares, one_alone):
    """{file: content} that one process prepares."""
    return files(one_alone)


@given(st.lists(st.integers(0, 200 << 20), max_size=600))
def test_shares_hold_every_piece_in_order_and_are_not_too_many(sizes):
    pieces = [Piece(size, number) for number, size in enumerate(sizes)]
    shares = preparation.cut(pieces)
    assert [piece for share in shares for piece in share] == pieces
    assert 1 <= len(shares) <= preparation.MOST_SHARES + 1
    assert all(sum(piece.size for piece in share) >= preparation.SHARE_BYTES for share in shares[:-1])


def test_the_stream_does_not_depend_on_the_shares(one_alone, tmp_path):
    """Only the files are cut elsewhere."""
    whole, cut = prepare(tmp_path), corpus.open(one_alone)
    assert whole.directory.name == cut.directory.name
    assert len(whole.manifest["parts"]) < len(cut.manifest["parts"])
    for name in corpus.SPLITS:
        one, two = whole.split(name), cut.split(name)
        for a, b in zip(one.gather([0], [one.num_tokens]), two.gather([0], [two.num_tokens]), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one.document_offsets, two.document_offsets)
        np.testing.assert_array_equal(one.counts, two.counts)
    assert whole.manifest["splits"] == cut.manifest["splits"]


def in_process(directory, together, results):
    small_shares(pytest.MonkeyPatch())
    source, lines = Source(seconds=0.01), []
    together.wait(60)
    made = prepare(directory, source, lines.append)
    results.put((source.read, files(made.directory)))


def test_two_processes_read_each_document_once_and_prepare_what_one_does(alone, tmp_path):
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=in_process, args=(tmp_path / "two", together, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    read, made = zip(*[results.get(timeout=60) for _ in workers], strict=True)
    for worker in workers:
        worker.join()
    assert made[0] == made[1] == alone
    assert sum(read) == len(TEXTS) and min(read) > len(TEXTS) / 5, read
    left = sorted(path.name for path in (tmp_path / "two" / "corpora").iterdir())
    assert [name for name in left if "share" in name] == [], left


@pytest.mark.parametrize("stop", [7, 23, 59])
def test_what_an_ended_process_has_left_is_taken_over(stop, alone, tmp_path):
    first, second = Source(stop=stop), Source()
    with pytest.raises(InterruptedError):
        prepare(tmp_path / "again", first)
    made = prepare(tmp_path / "again", second)
    assert files(made.directory) == alone
    assert second.read <= len(TEXTS) - stop // 5 * 5  # shares that were done are not read again


def test_a_share_in_the_making_is_passed_over_and_waited_for(alone, tmp_path):
    directory = tmp_path / "busy" / "corpora"
    directory.mkdir(parents=True)
    name = corpus.fingerprint(Source(), fakes.Tokenizer(), document_end=5, validation_share=0.2)
    lines, made, waits = [], [], threading.Event()

    def report(line):
        lines.append(line)
        if "waiting" in line:
            waits.set()

    with storage.lock(directory / f"{name}.share-00002.lock", pytest.fail):
        worker = threading.Thread(target=lambda: made.append(prepare(tmp_path / "busy", report=report)))
        worker.start()
        assert waits.wait(60)
        assert sum("prepared" in line and "share 3 of 12" not in line for line in lines) >= 11
    worker.join(60)
    assert "waiting for another process to prepare list of texts, share 3 of 12" in lines
    assert files(made[0].directory) == alone


@pytest.mark.parametrize("links", [True, False])
def test_an_end_that_was_interrupted_is_made_again(links, alone, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(preparation.os, "link", refuse)
    with monkeypatch.context() as patched:
        patched.setattr(preparation.corpus_files, "MANIFEST", "no/folder/manifest.json")
        with pytest.raises(OSError):
            prepare_without_manifest(tmp_path / "ended")
    source = Source()
    made = prepare(tmp_path / "ended", source)
    assert files(made.directory) == alone
    assert (source.read == 0) == links


def prepare_without_manifest(directory):
    """Ends where the manifest is to be written: its folder is a file."""
    (directory / "corpora").mkdir(parents=True)
    name = corpus.fingerprint(Source(), fakes.Tokenizer(), document_end=5, validation_share=0.2)
    (directory / "corpora" / name).mkdir()
    (directory / "corpora" / name / "no").write_text("")
    prepare(directory)


def test_a_damaged_share_is_prepared_anew(alone, tmp_path):
    with pytest.raises(InterruptedError):
        prepare(tmp_path / "damaged", Source(stop=50))
    (victim,) = tmp_path.glob("damaged/corpora/*/share-00003/train-00000.array_record")
    victim.write_bytes(victim.read_bytes()[:-9])
    lines = []
    made = prepare(tmp_path / "damaged", report=lines.append)
    assert files(made.directory) == alone
    assert sum("damaged" in line and "share 4 of 12" in line for line in lines) == 1


def test_shares_that_were_cut_otherwise_are_prepared_anew(alone, tmp_path, monkeypatch):
    """As another version may have left them."""
    with monkeypatch.context() as patched:
        patched.setattr(preparation, "SHARE_BYTES", 4)
        with pytest.raises(InterruptedError):
            prepare(tmp_path / "cut", Source(stop=30))
    lines = []
    assert files(prepare(tmp_path / "cut", report=lines.append).directory) == alone
    assert any("cut otherwise" in line and "share 2 of 12" in line for line in lines)


def test_a_source_without_a_token_is_refused_by_all(shares, tmp_path):
    for _ in range(2):
        with pytest.raises(DataError, match="list of texts holds 20 documents without any token"):
            prepare(tmp_path, Source(["none"] * 20))
        assert not list((tmp_path / "corpora").glob("*/"))
