"""How often words stand near each other in a prepared corpus, for GloVe (Pennington et al. 2014, section 4.2).

The counts of a split are kept in the cache beside the corpora. All pairs of words that occur together are held in
memory while they are counted.
"""

import dataclasses
import hashlib
import json

import numpy as np
import scipy.sparse

from cloze.data import artifacts
from cloze.data.rows import RowSource, TextRows
from cloze.errors import DataError

FORMAT = 2  # counted up when the same corpus comes to give other counts
CHUNK = 1 << 20  # tokens counted at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cooccurrences(TextRows):
    """Rows of `length` pairs of words, in an order drawn once.

    `rows(indices [n], epochs [n])` gives `tokens` and `contexts` int32 and `counts` f32, all [n, length]; the last row
    is filled up with counts of 0.

    Attributes:
        window, excluded: see `count`.
    """

    kind = "cooccurrences"
    window: int
    excluded: tuple[int, ...] = ()

    def plan(self, split, *, seed=0, report=print):
        """As of all rows of text.

        Raises:
            DataError: no two words stand together.
        """
        del seed
        return CooccurrenceRows(self, split, report)


class CooccurrenceRows(RowSource):
    """The row source of `Cooccurrences`."""

    def __init__(self, spec, split, report):
        super().__init__(spec, split)
        window, excluded = spec.window, spec.excluded
        name = [FORMAT, split.directory.name, split.name, window, list(excluded)]
        digest = hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32]
        target = split.directory.parent.parent / "cooccurrences" / digest

        def make():
            report(f"counting words that stand up to {window} tokens apart in the {split.name} split of {split.source}")
            return count(split, window, excluded), {}

        self._pairs, _ = artifacts.prepare(target, make, report)
        pairs = len(self._pairs["counts"])
        if not pairs:
            raise DataError(
                f"the {split.name} split of {split.source} has no two words in one document: give longer documents"
            )
        self.num_rows = -(-pairs // spec.length)

    def rows(self, indices, epochs):
        numbers = np.asarray(indices, np.int64)[:, None] * self.spec.length + np.arange(self.spec.length)
        present = numbers < len(self._pairs["counts"])
        numbers = np.where(present, numbers, 0)
        pairs = {name: np.where(present, array[numbers], 0).astype(array.dtype) for name, array in self._pairs.items()}
        return pairs | {"row_id": np.asarray(indices, np.int32), "epoch": np.asarray(epochs, np.int32)}


def count(split, window, excluded=()):
    """Counts pairs of one document: two words d <= window tokens apart add 1/d to either order of the two.

    Args:
        split: a `data.corpus.TokenStream`.
        window: tokens to either side.
        excluded: ids that are no words: they are not counted, but keep their positions between words.

    Returns:
        {"tokens", "contexts": int32 [n], "counts": f32 [n]}, each pair once, in an order that a fixed seed draws.
    """
    offsets, size = split.document_offsets, 0
    total = scipy.sparse.csr_array((0, 0), dtype=np.float64)
    for start in range(0, split.num_tokens, CHUNK):
        stop = min(start + CHUNK, split.num_tokens)
        last = min(stop + window, split.num_tokens)
        ids, _ = split.gather([start], [last])
        document = np.searchsorted(offsets, np.arange(start, last), side="right")
        size = max(size, int(ids.max()) + 1)
        total.resize((size, size))
        total += _chunk(ids, document, window, stop - start, size)
    word = ~np.isin(np.arange(size), excluded)
    total = (total + total.T).multiply(word).multiply(word[:, None]).tocoo()
    total.eliminate_zeros()
    order = np.random.default_rng(0).permutation(total.nnz)
    return {
        "tokens": total.coords[0][order].astype(np.int32),
        "contexts": total.coords[1][order].astype(np.int32),
        "counts": total.data[order].astype(np.float32),
    }


def _chunk(ids, document, window, first, size):
    """Pairs whose left word is one of the `first` tokens: csr [size, size], left word by right word."""
    rows, columns, weights = [], [], []
    for distance in range(1, window + 1):
        left = np.arange(min(first, len(ids) - distance)) if len(ids) > distance else np.zeros(0, np.int64)
        left = left[document[left] == document[left + distance]]
        rows.append(ids[left])
        columns.append(ids[left + distance])
        weights.append(np.full(len(left), 1.0 / distance))
    triples = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return scipy.sparse.coo_array(triples, shape=(size, size)).tocsr()
