"""Batches of labelled examples by step: which examples, how they are laid out in rows, and the arrays.

Step t has the same examples however they are laid out, so that the loss, a mean over examples or tokens, is the same:
    pad      a row an example, of data.sequence_length tokens
    buckets  a row an example, of the least of a few lengths that holds the batch
    pack     examples side by side in rows of data.sequence_length, which need fewer rows
Sizes are found from the lengths of the whole batch, arrays are made for the asked rows alone.
"""

import dataclasses
import functools
import math

import numpy as np

from cloze.data.batches import Order
from cloze.data.example_rows import fill
from cloze.errors import ConfigError

SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # of the longest row, that buckets have: each is a program to compile
_PACKED_SIZES = 8  # numbers of rows that packed batches have at most, likewise


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where the examples of a step lie. N is their number.

    Attributes:
        sources: int64 [N], which Features each is of.
        features: int64 [N], its number in these; -1 where the split has ended.
        rows: int64 [N], its row.
        starts: int64 [N], its first place in the row.
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
        weights: shares of the examples that come from each task.
        batching: "pad", "buckets" or "pack".
        length: tokens of a row at most.
        pad: id that fills rows up.
        seed: decides the order.
        batch_size: examples per step over all processes.
        multiple: the number of rows is a multiple of this where they are packed, so that they can be cut.
        drawing: data.poisson.Drawing among the examples of the only source, which decides what a step holds; or None.
        shuffle: examples come epoch after epoch, each in a new order, without end. False: once, each source in order,
            and the sources mixed by their numbers of examples, so that the first batches hold something of each; the
            last batch is filled up with rows without an example.

    Attributes:
        steps_per_epoch: float, steps until the source with the largest weight has been read once; an int without
            `shuffle`, steps until all have been read.
        slots: examples that a packed row may hold: as many of the shortest as fit. 1 where rows are not packed.

    Raises:
        ConfigError: packing of examples that have several texts.
    """

    def __init__(self, sources, weights, *, batching, length, pad, seed, batch_size, multiple, shuffle, drawing=None):
        self.layout, self.texts = sources[0].layout, max(source.texts for source in sources)
        if batching == "pack" and self.texts > 1:
            raise ConfigError(
                f"task.batching=pack does not go with examples of {self.texts} texts (task.kind=choice, "
                "task.both_orders), which are rows of their own: set task.batching=buckets"
            )
        self.sources, self._batching, self._length, self._pad = sources, batching, length, pad
        self._batch_size, self.multiple = batch_size, multiple
        self._target_length = self.layout.target_length + len(self.layout.target_start)
        used = [len(source.used) for source in sources]
        self._firsts = np.concatenate([[0], np.cumsum(used)])
        self._order = Order(used, weights, seed=seed, shuffle=True) if shuffle else None
        self._once = None if shuffle else _mixed(used)
        self._drawing = drawing
        self.steps_per_epoch = self._order.epoch / batch_size if shuffle else math.ceil(self._firsts[-1] / batch_size)
        shortest = min(int(source.sizes[source.used].min()) for source in sources)
        self.slots = max(1, min(batch_size, length // max(1, shortest))) if batching == "pack" else 1
        self.plan = functools.lru_cache(maxsize=8)(self._plan)  # asked for sizes, for rows, by a thread that is ahead

    def once(self):
        """The same examples once, in order, as without `shuffle`."""
        return ExampleBatches(
            self.sources, [1.0] * len(self.sources), batching=self._batching, length=self._length, pad=self._pad,
            seed=0, batch_size=self._batch_size, multiple=self.multiple, shuffle=False,
        )  # fmt: skip

    def size(self, step):
        """Rows of a step over all processes."""
        return self.plan(step).num_rows

    def batches(self, step, places=None):
        """Makes rows of a step.

        Args:
            step: the step, from 0.
            places: int [n], which rows of the global batch to make; None: all of them.

        Returns:
            The arrays of `data.example_rows.fill`, each with a leading dimension of n in the order of `places`, and
            `row` int32 [n], the places themselves.
        """
        plan = self.plan(int(step))
        places = np.arange(plan.num_rows) if places is None else np.asarray(places, np.int64)
        if places.size and (places.min() < 0 or places.max() >= plan.num_rows):
            raise ValueError(f"places must lie in [0, {plan.num_rows}), got {places.min()} to {places.max()}")
        packed = self._batching == "pack"
        batch = fill(self.sources, plan, places, self._pad, self.texts, self.slots if packed else None)
        return batch | {"row": places.astype(np.int32)}

    @property
    def counts(self):
        """int64 [V]: how often each id occurs in the texts of all sources together."""
        counts = [source.counts for source in self.sources]
        return sum(np.pad(count, (0, max(map(len, counts)) - len(count))) for count in counts)

    def _plan(self, step):
        sources, features = self._examples(step)
        sizes, targets = np.zeros_like(features), np.zeros_like(features)
        for number, source in enumerate(self.sources):
            mine = (sources == number) & (features >= 0)
            sizes[mine], targets[mine] = source.sizes[features[mine]], source.target_lengths[features[mine]]
        if self._batching == "pack":
            rows, starts, slots = pack(np.where(features >= 0, np.maximum(sizes, 1), 0), self._length)
            num_rows = _rounded(rows.max() + 1, self._batch_size, self.multiple)
            return Plan(sources, features, rows, starts, slots, num_rows, self._length, self._target_length)
        lengths = self._length, self._target_length
        if self._batching == "buckets":
            needs = int(sizes.max()), int(targets.max())
            lengths = next(found for share in SHARES if _holds(found := _bucket(lengths, share), needs))
        zeros = np.zeros_like(features)
        return Plan(sources, features, np.arange(len(features)), zeros, zeros, len(features), *lengths)

    def _examples(self, step):
        """Sources int64 [N] and features int64 [N] of a step."""
        if self._drawing is not None:
            features = np.full(self._drawing.capacity, -1)
            drawn = self._drawing(step)
            features[: len(drawn)] = self.sources[0].used[drawn]
            return np.zeros_like(features), features
        elements = step * self._batch_size + np.arange(self._batch_size)
        if self._order is not None:
            sources, rows, _ = self._order(elements)
            there = np.ones(len(elements), bool)
        else:
            there = elements < self._firsts[-1]
            numbers = self._once[np.where(there, elements, 0)]
            sources = np.searchsorted(self._firsts, numbers, side="right") - 1
            rows = numbers - self._firsts[sources]
        features = np.full(len(elements), -1)
        for number, source in enumerate(self.sources):
            mine = there & (sources == number)
            features[mine] = source.used[rows[mine]]
        return sources, features


def _mixed(counts):
    """The numbers of all examples, counted through the sources, in an order that has equal shares of each all along."""
    return np.argsort(np.concatenate([(np.arange(count) + 0.5) / count for count in counts]), kind="stable")


def pack(sizes, length):
    """First fit, the longest first (Johnson 1973): at most 11/9 of the rows that are needed, and 1.

    Args:
        sizes: int [N], tokens of each example, `length` at most; 0: it takes no room and lies in row 0.
        length: tokens of a row.

    Returns:
        Of each example int64 [N]: its row, its first place there, and how many lie before it in the row.
    """
    rows, starts, slots = (np.zeros(len(sizes), np.int64) for _ in range(3))
    filled, held = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
    for k in np.argsort(-np.asarray(sizes), kind="stable").tolist():
        if not sizes[k]:
            break
        row = int(np.argmax(filled + sizes[k] <= length))
        rows[k], starts[k], slots[k] = row, filled[row], held[row]
        filled[row] += sizes[k]
        held[row] += 1
    return rows, starts, slots


def _rounded(rows, batch_size, multiple):
    """A number of rows of which there are few: so many or more, a multiple of `multiple`."""
    unit = multiple * math.ceil(max(1, batch_size / _PACKED_SIZES / multiple))
    return int(math.ceil(rows / unit) * unit)


def _bucket(lengths, share):
    """Both lengths, cut to a share, rounded up to a multiple of 8."""
    return tuple(min(length, 8 * math.ceil(share * length / 8)) for length in lengths)


def _holds(lengths, needs):
    return all(length >= need for length, need in zip(lengths, needs, strict=True))
