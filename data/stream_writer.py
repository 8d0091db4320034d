"""Writes token streams in blocks; what they look like is said in `data.corpus`."""

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from cloze import storage
from cloze.data import corpus_files
from cloze.data.corpus_files import BLOCK, SENTENCE_END


class StreamWriter:
    """Writes the token stream of one split in one part; a stream without tokens leaves no file."""

    def __init__(self, path, vocab_size):
        self.path, self._dtype = path, corpus_files.id_dtype(vocab_size)
        self.document_ends = []
        self.counts = np.zeros(vocab_size, np.int64)
        self._tokens = self._sentences = 0
        self._ids, self._flags, self._pending = [], [], 0
        self._writer = None
        path.unlink(missing_ok=True)  # left by an interrupted run

    def append(self, ids, flags):
        if not len(ids):
            return
        self._ids.append(ids.astype(self._dtype))
        self._flags.append(flags)
        self._pending += len(ids)
        self._tokens += len(ids)
        self._sentences += int(np.count_nonzero(flags & SENTENCE_END))
        self.document_ends.append(self._tokens)
        if self._pending >= 64 * BLOCK:  # joining less at a time costs more than writing it
            self._write(self._pending // BLOCK)

    def close(self):
        """Writes what is left and returns the stream's sizes."""
        fill = -self._pending % BLOCK
        self._ids.append(np.zeros(fill, self._dtype))
        self._flags.append(np.zeros(fill, np.uint8))
        self._write((self._pending + fill) // BLOCK)
        self.counts[0] -= fill
        if self._writer is not None:
            with storage.writing(self.path):
                self._writer.close()
        return {"documents": len(self.document_ends), "tokens": self._tokens, "sentences": self._sentences}

    def _write(self, blocks):
        ids, flags = np.concatenate(self._ids), np.concatenate(self._flags)
        if blocks and self._writer is None:
            self._writer = ArrayRecordWriter(str(self.path), "group_size:1")
        with storage.writing(self.path):
            for start in range(0, blocks * BLOCK, BLOCK):
                self._writer.write(ids[start : start + BLOCK].tobytes() + flags[start : start + BLOCK].tobytes())
        self.counts += np.bincount(ids[: blocks * BLOCK], minlength=len(self.counts))
        self._ids, self._flags = [ids[blocks * BLOCK :]], [flags[blocks * BLOCK :]]
        self._pending = len(self._ids[0])
