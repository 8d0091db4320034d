"""The work behind a prepared corpus: a source is cut into shares, which any number of processes tokenise at once.

How a source is cut follows from the source alone, and each share is written by one process, in parts. Who comes takes
the first share that is neither done nor being done; when none is left it waits for those of others, and takes over what
a process has left that ended. The last one joins the parts of all shares, in the order of the source. So the corpus is
the same to the bit, whoever prepared it.

Until then a share is a folder `share-00000/` in the corpus's own: `part-00000.json`, ... say which parts are whole, and
an interrupted share goes on behind the last one; `done.json` says that there are no more.
"""

import hashlib
import itertools
import os
import shutil

import numpy as np

from cloze import storage
from cloze.data import corpus_files, flagged
from cloze.data.corpus_files import FORMAT, SPLITS
from cloze.data.stream_writer import StreamWriter
from cloze.errors import DataError

SHARE_BYTES = 64 << 20  # of the source: some seconds to tokenise, less is not worth sharing out
MOST_SHARES = 256  # shares are larger instead
PART_TOKENS = 8 << 20  # a kill loses some seconds of tokenising at most
_PARTS_PER_SIZE = 32  # parts of a share, then they double: a run opens the file of each part
_SHARES_PER_SIZE = 4  # parts are so much larger where shares are many: 150 billion tokens make some hundred parts
_DOCUMENTS_PER_CALL = 64  # given to the tokenizer at once
_DONE = "done.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, DataError)  # what reading a damaged share gives


def cut(pieces: list) -> list[list]:
    """The pieces of a source (data.sources.Piece) -> those of each share, in order; one share at least."""
    least = max(SHARE_BYTES, sum(piece.size for piece in pieces) // MOST_SHARES)
    shares, size = [[]], 0
    for piece in pieces:
        if size >= least:
            shares.append([])
            size = 0
        shares[-1].append(piece)
        size += piece.size
    return shares


class _Taken(Exception):
    """Another process is at a share."""


class Preparation:
    """Prepares one corpus, together with other processes that do the same.

    Args:
        source, tokenizer, part_tokens, report: as of data.corpus.prepare.
        directory: the corpus's own.
        options: {"document_end", "validation_share", "entities"}.
    """

    def __init__(self, source, tokenizer, directory, options, part_tokens, report):
        self.source, self.tokenizer, self.directory = source, tokenizer, directory
        self.options, self.report = options, report
        shares = cut(source.pieces())
        part_tokens *= max(1, len(shares) // _SHARES_PER_SIZE)
        self.shares = [_Share(self, number, len(shares), pieces, part_tokens) for number, pieces in enumerate(shares)]

    def run(self) -> None:
        """Returns when the corpus is whole.

        Raises:
            DataError: the source holds no text, or text that cannot be read.
        """
        taken = []
        for share in self.shares:
            try:
                self._do(share, _refuse)
            except _Taken:
                taken.append(share)
        for share in taken:
            self._do(share, lambda share=share: self.report(f"waiting for another process to prepare {share}"))
        with corpus_files.preparing(self.directory, self.report):
            if not self._is_whole():
                for share in self.shares:  # one may have been found damaged, or all empty, by a process before
                    self._do(share, lambda: None)
                self._join()

    def _is_whole(self):
        return (self.directory / corpus_files.MANIFEST).exists()

    def _do(self, share, busy):
        """Prepares a share if nobody has; `busy` as of storage.lock."""
        if self._is_whole():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        with storage.lock(self._lock_of(share), busy):
            if not self._is_whole() and share.done() is None:
                share.run()

    def _lock_of(self, share):  # beside the corpus: a lock that is held stays when the corpus is swept
        return self.directory.with_name(f"{self.directory.name}.{share.directory.name}.lock")

    def _join(self):
        """Joins what all shares hold, writes the manifest, and then removes what only resuming needs."""
        done = [share.done() for share in self.shares]
        joined = [
            (share, number, part)
            for share, (parts, _) in zip(self.shares, done, strict=True)
            for number, part in enumerate(parts)
        ]
        parts = [part for _, _, part in joined]
        totals = {
            name: {
                key: sum(part["splits"][name][key] for part in parts) for key in ("documents", "tokens", "sentences")
            }
            for name in SPLITS
        }
        if not sum(split["tokens"] for split in totals.values()):
            shutil.rmtree(self.directory)
            documents = sum(part["consumed"] for part in parts)
            holds = f"{documents} documents without any token" if parts else "no documents"
            raise DataError(f"the source {self.source.name} holds {holds}: check data.source and data.text_field")
        fingerprint = self.source.fingerprint()
        corpus_files.save_array(self.directory / "counts.npy", sum(counts for _, counts in done))
        for name in SPLITS:
            self._join_documents(name, joined, totals[name]["documents"])
        files = {}
        for place, (share, number, part) in enumerate(joined):
            files |= share.hand_over(number, part, place)
        tables = ["counts.npy", *(f"{name}-documents.npy" for name in SPLITS)]
        manifest = {
            "format": FORMAT,
            "source": self.source.name,
            "source_fingerprint": fingerprint,
            "tokenizer": self.tokenizer.hash,
            "vocab_size": self.tokenizer.vocab_size,
            **self.options,
            "splits": totals,
            "parts": [{name: part["splits"][name]["tokens"] for name in SPLITS} for part in parts],
            "files": files | {file: storage.describe(self.directory / file) for file in tables},
        }
        storage.write_checked(self.directory / corpus_files.MANIFEST, manifest)
        for path in self.directory.iterdir():
            if path.name not in (corpus_files.MANIFEST, *manifest["files"]):
                storage.remove(path)
        for share in self.shares:
            self._lock_of(share).unlink(missing_ok=True)

    def _join_documents(self, name, joined, documents):
        path, tokens = self.directory / f"{name}-documents.npy", 0
        header = {"descr": "<i8", "fortran_order": False, "shape": (documents + 1,)}
        with storage.writing(path), path.open("wb") as file:  # a mapped file would end the process on a full disk
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.zeros(1, "<i8").data)
            for share, number, part in joined:
                ends = np.load(share.directory / corpus_files.document_file(name, number))
                file.write((ends + tokens).astype("<i8").data)
                tokens += part["splits"][name]["tokens"]


def _refuse():
    raise _Taken


def _link(path, target):
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # not all file systems have links
        path.replace(target)


class _Share:
    """A share of a Preparation, which is written in a folder of its own.

    Attributes:
        directory: the folder.
    """

    def __init__(self, preparation, number, count, pieces, part_tokens):
        self._of, self._pieces, self._part_tokens = preparation, pieces, part_tokens
        self.directory = preparation.directory / f"share-{number:05d}"
        self._cut = hashlib.sha256(repr([piece.place for piece in pieces]).encode()).hexdigest()[:16]
        self._words = preparation.source.name + (f", share {number + 1} of {count}" if count > 1 else "")

    def __str__(self):
        return self._words

    def done(self) -> tuple[list[dict], np.ndarray] | None:
        """What `_whole_parts` gives; None: the share is not done, or a file of it is not whole."""
        try:
            end = storage.read_checked(self.directory / _DONE)
            parts, counts = self._whole_parts()
        except _DAMAGE:
            return None
        return (parts, counts) if end == self._end(parts) else None

    def _end(self, parts):
        """What done.json says of a share."""
        return {"parts": len(parts), "cut": self._cut}

    def hand_over(self, number: int, part: dict, place: int) -> dict:
        """Gives the records of a part to the corpus, whose part `place` it is; {file there: what it is}.

        Where the file system has links, an interrupted end leaves the share whole.
        """
        files = {}
        for name in SPLITS:
            file, target = corpus_files.record_file(name, number), corpus_files.record_file(name, place)
            if file in part["files"]:
                _link(self.directory / file, self._of.directory / target)
                files[target] = part["files"][file]
        return files

    def run(self) -> None:
        """From the last whole part to the end of the share."""
        self.directory.mkdir(exist_ok=True)
        parts, counts = self._resume()
        consumed = sum(part["consumed"] for part in parts)
        documents = self._encoded(self._of.source.documents(skip=consumed, pieces=self._pieces))
        while (item := next(documents, None)) is not None:
            part = self._write_part(len(parts), itertools.chain([item], documents), counts)
            parts.append(part)
            self._of.report(
                f"prepared {sum(part['consumed'] for part in parts):,} documents, "
                f"{sum(part['splits'][name]['tokens'] for part in parts for name in SPLITS):,} tokens of {self}"
            )
        storage.write_checked(self.directory / _DONE, self._end(parts))

    def _resume(self):
        """`_whole_parts` of an earlier run; none where they are damaged."""
        try:
            parts, counts = self._whole_parts()
        except _DAMAGE as error:
            self._of.report(f"the parts of {self} already prepared are damaged ({error}): starting over")
            shutil.rmtree(self.directory)
            self.directory.mkdir()
            return self._whole_parts()
        if parts:
            self._of.report(f"going on behind part {len(parts)} of {self}")
        return parts, counts

    def _whole_parts(self):
        """What the part-N.json say, and int64 [vocab_size]: how often each id occurs in the train split.

        Raises:
            DataError and others of `_DAMAGE`: a file is missing or damaged.
        """
        parts = []
        while (path := self.directory / f"part-{len(parts):05d}.json").exists():
            parts.append(self._whole_part(path))
        if not parts:
            return parts, np.zeros(self._of.tokenizer.vocab_size, np.int64)
        file = f"counts-{len(parts) - 1:05d}.npy"
        self._check_table(parts[-1], file)
        return parts, np.load(self.directory / file)

    def _whole_part(self, path):
        """What part-N.json says, if its files are whole; those of records check themselves when they are read."""
        part = storage.read_checked(path)
        if part["cut"] != self._cut:
            raise DataError(f"{path} is of a share that was cut otherwise, by another version")
        for file, expected in part["files"].items():
            corpus_files.check_file(self.directory / file, expected, checksum=False)
        for name in SPLITS:
            self._check_table(part, corpus_files.document_file(name, int(path.stem.removeprefix("part-"))))
        return part

    def _check_table(self, part, file):
        corpus_files.check_file(self.directory / file, part["tables"][file], checksum=True)

    def _encoded(self, documents):
        """Yields (split name, ids, flags) for each document, in order; ids is empty for a document without tokens."""
        for texts in iter(lambda: list(itertools.islice(documents, _DOCUMENTS_PER_CALL)), []):
            options = {"document_end": self._of.options["document_end"], "flag_entities": self._of.options["entities"]}
            for text, encoded in zip(texts, flagged.encode(texts, self._of.tokenizer, **options), strict=True):
                yield self._split_of(text), *encoded

    def _split_of(self, text):
        return "validation" if corpus_files.is_held_out(text, self._of.options["validation_share"]) else "train"

    def _write_part(self, number, documents, counts):
        """Writes documents until the part is full; adds to `counts`; returns and saves what part-N.json says."""
        limit = self._part_tokens << (number // _PARTS_PER_SIZE)
        vocab_size = self._of.tokenizer.vocab_size
        streams = {
            name: StreamWriter(self.directory / corpus_files.record_file(name, number), vocab_size) for name in SPLITS
        }
        consumed = tokens = 0
        for name, ids, flags in documents:
            streams[name].append(ids, flags)
            consumed += 1
            tokens += len(ids)
            if tokens >= limit:
                break
        part = {"cut": self._cut, "consumed": consumed, "splits": {}, "files": {}, "tables": {}}
        for name, stream in streams.items():
            part["splits"][name] = stream.close()
            if stream.path.exists():
                part["files"][stream.path.name] = storage.describe(stream.path)
            ends = np.asarray(stream.document_ends, np.int64)
            self._save_table(part, corpus_files.document_file(name, number), ends)
        counts += streams["train"].counts
        self._save_table(part, f"counts-{number:05d}.npy", counts)
        storage.write_checked(self.directory / f"part-{number:05d}.json", part)
        (self.directory / f"counts-{number - 1:05d}.npy").unlink(missing_ok=True)
        return part

    def _save_table(self, part, file, array):
        corpus_files.save_array(self.directory / file, array)
        part["tables"][file] = storage.describe(self.directory / file)
