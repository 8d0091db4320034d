"""Prepared corpora: a text source turned once into token streams that can be read from anywhere in any order.

A corpus is a directory `<cache>/corpora/<fingerprint>/` holding, for each split (train, validation):

* `train-00000.array_record`, ...: the token stream of each part of the work, cut in blocks of `BLOCK` tokens. One
  record is the block's ids (uint16 or uint32, little endian) followed by one byte of flags per token (the bits are in
  `data.corpus_files`). The last block of a part is filled up with zeros, which lie outside every range that can be
  asked for.
* `train-documents.npy`: int64 [documents + 1], where documents begin in the stream, and the end of the stream.

`counts.npy`, int64 [vocab_size], counts the tokens of the train split; `manifest.json`, written last, lists every file
with its size and checksum. Until it is there, `data.preparation` is at work.
"""

import hashlib
import json
import pathlib

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from cloze.data import corpus_files
from cloze.data.corpus_files import BLOCK, FORMAT, SENTENCE_END, SPLITS
from cloze.data.preparation import PART_TOKENS, Preparation
from cloze.errors import DataError

ENTITY_FORMAT = 1  # counted up when data.entities comes to find something else


def fingerprint(source, tokenizer, *, document_end, validation_share, entities=False):
    """Hex digest (32 characters) of everything that decides a corpus; it names the corpus's directory."""
    parts = [FORMAT, source.fingerprint(), tokenizer.hash, document_end, float(validation_share)]
    parts += ["entities", ENTITY_FORMAT] if entities else []  # without them it is the corpus that it always was
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def prepare(
    source, tokenizer, directory, *, document_end, validation_share, entities=False, part_tokens=PART_TOKENS,
    report=print,
):  # fmt: skip
    """Tokenises a source into a corpus under `directory`, or opens the one that is there already.

    Processes that are called at once share the work, see `data.preparation`. What an interrupted preparation has
    finished is kept, and the result depends neither on interruptions nor on the number of processes.

    Args:
        source: data.sources.Source, or what has its `name`, `fingerprint()`, `pieces()` and `documents`.
        tokenizer: has `vocab_size`, `hash` and `encode_batch(list[str])`, a list of int arrays without special tokens;
            for entities also `encode_with_offsets`. See data.tokenizers.Tokenizer.
        directory: the cache root; the corpus goes to `corpora/<fingerprint>` below it.
        document_end: id appended to every document, or None.
        validation_share: share of the documents held out, in [0, 1], decided by a hash of each text.
        entities: flag the tokens of names, dates and numbers (data.entities).
        part_tokens: tokens after which a part is closed; decides how the files are cut, not what is read.
        report: called with progress messages.

    Returns:
        The Corpus.

    Raises:
        DataError: the source holds no text, or a prepared corpus is damaged.
    """
    document_end = None if document_end is None else int(document_end)  # numpy's integers cannot be written as JSON
    options = {"document_end": document_end, "validation_share": validation_share, "entities": bool(entities)}
    name = fingerprint(source, tokenizer, **options)
    directory = pathlib.Path(directory).expanduser() / "corpora" / name
    if not (directory / corpus_files.MANIFEST).exists():
        Preparation(source, tokenizer, directory, options, part_tokens, report).run()
    return open(directory)


def open(directory):
    """Opens a prepared corpus and checks that its files are whole.

    Record files are checked by size here and by their own checksums when read; the small tables by checksum at once.

    Args:
        directory: the corpus's own directory.

    Raises:
        DataError: there is no corpus, it has another format, or a file is missing, cut short or changed.
    """
    directory = pathlib.Path(directory)
    manifest = corpus_files.read_manifest(directory)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{directory} has format {manifest.get('format')}, expected {FORMAT}; {corpus_files.remedy(directory)}"
        )
    with corpus_files.complete(directory):
        for file, expected in manifest["files"].items():
            corpus_files.check_file(directory / file, expected, checksum=file.endswith(".npy"))
        _check_sizes(directory, manifest)
    return Corpus(directory, manifest)


def _check_sizes(directory, manifest):
    """Refuses a manifest whose numbers are not those of its tables: those of earlier versions have no checksum.

    Raises:
        ValueError: says which number.
    """
    if missing := {"source", "validation_share"} - manifest.keys():
        raise ValueError(f"it has no {missing.pop()}")
    counts = np.load(directory / "counts.npy")
    sizes = [("vocab_size", manifest["vocab_size"], len(counts))]
    sizes += [("tokens of train", manifest["splits"]["train"]["tokens"], int(counts.sum()))]
    for name in SPLITS:
        offsets = np.load(directory / f"{name}-documents.npy", mmap_mode="r")
        parts = [part[name] for part in manifest["parts"]]
        sizes += [(f"documents of {name}", manifest["splits"][name]["documents"], len(offsets) - 1)]
        sizes += [(f"tokens of {name}", manifest["splits"][name]["tokens"], int(offsets[-1]))]
        sizes += [(f"tokens of the parts of {name}", sum(parts), int(offsets[-1]))]
        for number, tokens in enumerate(parts):
            if bool(tokens) != (corpus_files.record_file(name, number) in manifest["files"]):
                raise ValueError(f"part {number} of {name} has {tokens} tokens, and its file is not as that says")
    for what, said, found in sizes:
        if said != found:
            raise ValueError(f"{what}: it says {said}, the tables hold {found}")


class Corpus:
    """An open corpus. `manifest` is the dict of manifest.json, `directory` its path."""

    def __init__(self, directory, manifest):
        self.directory = directory
        self.manifest = manifest
        self._splits = {}

    def split(self, name):
        """The TokenStream of "train" or "validation".

        Raises:
            DataError: no document fell into this split.
        """
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}; there are {SPLITS}")
        if not self.manifest["splits"][name]["tokens"]:
            documents = sum(split["documents"] for split in self.manifest["splits"].values())
            raise DataError(
                f"the {name} split of {self.manifest['source']} is empty: of {documents} documents none fell into it "
                f"with data.validation_share={self.manifest['validation_share']}. Change data.validation_share, set "
                "data.validation_source, or give more documents."
            )
        if name not in self._splits:
            self._splits[name] = TokenStream(self, name)
        return self._splits[name]


class TokenStream:
    """The token stream of one split; every method may be called from any thread.

    Attributes:
        name: "train" or "validation".
        source: the name of the text source.
        directory: the corpus's own.
        num_tokens, num_documents: sizes.
        document_offsets: int64 [num_documents + 1], where documents begin, and the end of the stream.
    """

    def __init__(self, corpus, name):
        self.name = name
        self.source = corpus.manifest["source"]
        self.directory = corpus.directory
        self.num_tokens = corpus.manifest["splits"][name]["tokens"]
        self.num_documents = corpus.manifest["splits"][name]["documents"]
        self.document_offsets = np.load(corpus.directory / f"{name}-documents.npy", mmap_mode="r")
        vocab_size = corpus.manifest["vocab_size"]
        self._dtype = corpus_files.id_dtype(vocab_size)
        self._vocab_size = vocab_size
        parts = [(number, part[name]) for number, part in enumerate(corpus.manifest["parts"]) if part[name]]
        self._paths = [corpus.directory / corpus_files.record_file(name, number) for number, _ in parts]
        self._part_offsets = np.concatenate([[0], np.cumsum([tokens for _, tokens in parts])]).astype(np.int64)
        self._readers = [None] * len(parts)

    @property
    def counts(self):
        """int64 [vocab_size]: how often each id occurs in this split."""
        if self.name == "train":
            return np.load(self.directory / "counts.npy")
        total = np.zeros(self._vocab_size, np.int64)
        for ids, _ in self._chunks():
            total += np.bincount(ids, minlength=self._vocab_size)
        return total

    def sentence_ends(self):
        """int64 [sentences]: the offset behind the last token of each sentence, ascending. Reads the whole split."""
        ends = [offset + np.flatnonzero(flags & SENTENCE_END) + 1 for offset, flags in self._flag_chunks()]
        return np.concatenate(ends).astype(np.int64)

    def gather(self, starts, stops):
        """Reads many ranges of the stream at once, with one bulk read per file.

        Args:
            starts, stops: int [n], ranges [start, stop) within [0, num_tokens].

        Returns:
            (ids int32 [total], flags uint8 [total]), the ranges laid end to end.

        Raises:
            DataError: a record is damaged.
        """
        starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
        if starts.size == 0:
            return np.zeros(0, np.int32), np.zeros(0, np.uint8)
        if starts.min() < 0 or stops.max() > self.num_tokens or (starts > stops).any():
            raise IndexError(f"a range lies outside the {self.num_tokens} tokens of {self.directory}")
        part, starts, stops = self._cut_at_parts(starts, stops)
        position = np.empty_like(starts)  # where each range begins in the blocks that are read
        ids, flags, filled = [], [], 0
        for number in np.unique(part):
            chosen = part == number
            first = starts[chosen] // BLOCK
            count = np.maximum(-(-stops[chosen] // BLOCK) - first, 0)
            blocks = np.unique(ranges(first, count))
            if blocks.size == 0:
                position[chosen] = filled
                continue
            position[chosen] = (np.searchsorted(blocks, first) + filled) * BLOCK + starts[chosen] % BLOCK
            block_ids, block_flags = self._read_blocks(number, blocks)
            ids.append(block_ids)
            flags.append(block_flags)
            filled += len(blocks)
        index = ranges(position, stops - starts)
        if not ids:
            return np.zeros(0, np.int32), np.zeros(0, np.uint8)
        return np.concatenate(ids)[index].astype(np.int32), np.concatenate(flags)[index]

    def _cut_at_parts(self, starts, stops):
        """Ranges of the stream -> (part, start and stop within it), with ranges that cross parts cut there."""
        last_part = len(self._paths) - 1
        first = np.minimum(np.searchsorted(self._part_offsets, starts, side="right") - 1, last_part)
        last = np.maximum(np.searchsorted(self._part_offsets, stops, side="left") - 1, first)
        part = ranges(first, last - first + 1)
        owner = np.repeat(np.arange(len(starts)), last - first + 1)
        base = self._part_offsets[part]
        return (
            part,
            np.maximum(starts[owner], base) - base,
            np.minimum(stops[owner], self._part_offsets[part + 1]) - base,
        )

    def _read_blocks(self, number, blocks):
        """Records `blocks` of a part -> ids [blocks * BLOCK] as stored, flags uint8 [blocks * BLOCK]."""
        path, indices = self._paths[number], blocks.tolist()
        try:
            if self._readers[number] is None:  # two threads may both open it; one reader is dropped again
                self._readers[number] = ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
            records = self._readers[number].read(indices)
            table = np.frombuffer(b"".join(records), np.uint8).reshape(len(indices), -1)
        except Exception as error:
            self._readers[number] = None
            raise DataError(
                f"{path} is damaged: record {_first_unreadable(path, indices)} cannot be read "
                f"({str(error).splitlines()[0]}); {corpus_files.remedy(self.directory)}"
            ) from error
        width = BLOCK * self._dtype.itemsize
        return np.ascontiguousarray(table[:, :width]).view(self._dtype).ravel(), table[:, width:].ravel()

    def _flag_chunks(self):
        offset = 0
        for _, flags in self._chunks():
            yield offset, flags
            offset += len(flags)

    def _chunks(self):
        """The whole split in order, some megabytes at a time."""
        size = 4096 * BLOCK
        for start in range(0, self.num_tokens, size):
            yield self.gather([start], [min(start + size, self.num_tokens)])


def ranges(starts, lengths):
    """The integers of many ranges end to end: starts [n], lengths [n] -> int64 [sum of lengths]."""
    starts, lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _first_unreadable(path, indices):
    """Which of the records cannot be read, for an error message; "?" if each can by itself."""
    for index in indices:
        try:
            ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0").read([index])
        except Exception:
            return index
    return "?"
