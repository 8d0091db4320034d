"""Batches of labelled examples by step: which examples, how they are laid out in rows, and the arrays.

Step t has the same examples however they are laid out, so that the loss, a mean over examples or tokens, is the same:
    pad      a row an example, of data.sequence_length tokens
    buckets  a row an example, of the least of a few lengths that holds the batch
    pack     examples side by side in rows of data.sequence_length, which need fewer rows
Sizes follow from the lengths of the whole batch. Arrays are made of the asked rows alone.
"""

import dataclasses
import functools
import math

import numpy as np

from cloze.data.batches import check_places
from cloze.data.example_rows import fill
from cloze.data.order import Once
from cloze.data.packing import pack
from cloze.errors import ConfigError

SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # lengths of buckets, of the longest row; each is a program to compile
_PACKED_SIZES = 8  # packed batches have one of so many numbers of rows, at most


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where the examples of a step lie. N is their number.

    Attributes:
        sources: int64 [N], which Features each is of.
        features: int64 [N], its number in these; -1 where the split has ended.
        rows: int64 [N], its row.
        starts: int64 [N], its first position in the row.
        slots: int64 [N], how many examples lie before it in the row.
        num_rows: rows of the batch.
        length: tokens of a row.
        target_length: tokens of a row of the decoder, where answers are apart.
    """

    sources: np.ndarray
    features: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    slots: np.ndarray
    num_rows: int
    length: int
    target_length: int


class ExampleBatches:
    """Random access to the batches of examples of a run.

    Args:
        sources: data.examples.Features of each task, all of one layout.
        order: see data.order; over the features of each source that are used.
        batching: "pad", "buckets" or "pack".
        length: tokens of a row at most.
        pad: id that fills rows up.
        multiple: the number of rows is a multiple of this where they are packed, so that they can be cut.

    Attributes:
        slots: examples that a packed row may hold: as many of the shortest as fit. 1 where rows are not packed.

    Raises:
        ConfigError: packing of examples that have several texts.
    """

    def __init__(self, sources, order, *, batching, length, pad, multiple=1):
        self.layout, self.texts = sources[0].layout, max(source.texts for source in sources)
        if batching == "pack" and self.texts > 1:
            raise ConfigError(
                f"task.batching=pack does not go with examples of {self.texts} texts (task.kind=choice, "
                "task.both_orders), which are rows of their own: set task.batching=buckets"
            )
        self.sources, self.order, self._batching = sources, order, batching
        self._length, self._pad, self._multiple = length, pad, multiple
        self._target_length = self.layout.target_length + len(self.layout.target_start)
        shortest = min(int(source.sizes[source.used].min()) for source in sources)
        self.slots = max(1, min(order.size, length // max(1, shortest))) if batching == "pack" else 1
        self.plan = functools.lru_cache(maxsize=8)(self._plan)  # size and rows of a step are asked for apart

    def once(self, size: int) -> "ExampleBatches":
        """The same examples once, `size` in a step."""
        order = Once([len(source.used) for source in self.sources], size)
        options = {"batching": self._batching, "length": self._length, "pad": self._pad, "multiple": self._multiple}
        return ExampleBatches(self.sources, order, **options)

    def size(self, step: int) -> int:
        """Rows of a step over all processes."""
        return self.plan(step).num_rows

    def batches(self, step: int, places: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Makes rows of a step.

        Args:
            step: the step, from 0.
            places: int [n], which rows of the global batch to make; None: all of them.

        Returns:
            The arrays of `data.example_rows.fill`, each with a leading dimension of n in the order of `places`, and
            `row` int32 [n], the places themselves.
        """
        plan = self.plan(int(step))
        places = check_places(places, plan.num_rows)
        packed = self._batching == "pack"
        batch = fill(self.sources, plan, places, self._pad, self.texts, self.slots if packed else None)
        return batch | {"row": places.astype(np.int32)}

    def _plan(self, step):
        sources, features = self._examples(step)
        sizes, targets = np.zeros_like(features), np.zeros_like(features)
        for number, source in enumerate(self.sources):
            mine = (sources == number) & (features >= 0)
            sizes[mine], targets[mine] = source.sizes[features[mine]], source.target_lengths[features[mine]]
        if self._batching == "pack":
            rows, starts, slots = lay_out(np.where(features >= 0, np.maximum(sizes, 1), 0), self._length)
            num_rows = _rounded(rows.max() + 1, self.order.size, self._multiple)
            return Plan(sources, features, rows, starts, slots, num_rows, self._length, self._target_length)
        lengths = self._length, self._target_length
        if self._batching == "buckets":
            needs = int(sizes.max()), int(targets.max())
            lengths = next(bucket for share in SHARES if _holds(bucket := _bucket(lengths, share), needs))
        zeros = np.zeros_like(features)
        return Plan(sources, features, np.arange(len(features)), zeros, zeros, len(features), *lengths)

    def _examples(self, step):
        """Sources int64 [N] and features int64 [N] of a step."""
        sources, numbers, _ = self.order(step, np.arange(self.order.size))
        features = np.full(len(numbers), -1)
        for number, source in enumerate(self.sources):
            mine = (numbers >= 0) & (sources == number)
            features[mine] = source.used[numbers[mine]]
        return sources, features


def lay_out(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Packs examples into rows, each behind the ones before it.

    Args:
        sizes: int64 [N], tokens of each example, `length` at most; 0: it takes no room and lies in row 0.
        length: tokens of a row.

    Returns:
        Of each example int64 [N]: its row, its first position there, and how many lie before it in the row.
    """
    rows, starts, slots = np.zeros((3, len(sizes)), np.int64)
    present = np.flatnonzero(sizes)
    rows[present] = pack(sizes[present], length)
    present = present[np.argsort(rows[present], kind="stable")]
    first = np.searchsorted(rows[present], rows[present])  # the first example in each one's row
    before = np.cumsum(sizes[present]) - sizes[present]
    starts[present], slots[present] = before - before[first], np.arange(len(present)) - first
    return rows, starts, slots


def _rounded(rows, batch_size, multiple):
    """`rows` rounded up to one of a few numbers, each a multiple of `multiple`."""
    unit = multiple * math.ceil(max(1, batch_size / _PACKED_SIZES / multiple))
    return int(math.ceil(rows / unit) * unit)


def _bucket(lengths, share):
    """Both lengths, cut to a share, rounded up to a multiple of 8."""
    return tuple(min(length, 8 * math.ceil(share * length / 8)) for length in lengths)


def _holds(lengths, needs):
    return all(length >= need for length, need in zip(lengths, needs, strict=True))
