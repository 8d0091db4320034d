"""Rows that hold two stretches of text: next sentence prediction (BERT) and sentence order prediction (ALBERT)."""

import array
import bisect
import dataclasses
import functools
import random

import numpy as np

from cloze.data.corpus import ranges
from cloze.data.rows import RowSource, TextRows
from cloze.errors import ConfigError, DataError

_COLUMNS = 5  # of a plan: A start, A stop, B start, B stop, label


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(TextRows):
    """Rows `[CLS] A [SEP] B [SEP]`, where B follows A in a document or does not.

    Sentences of a document are gathered into chunks of `length - 3` tokens (Devlin et al. 2019, appendix A.2, and the
    published `create_pretraining_data`); in a share `short_pair_rate` of the documents, into chunks of a uniformly
    random number of tokens from 2 to `length - 3`. A chunk is cut at a random sentence into A and B.

    * Next sentence prediction: with one sentence in the chunk, or else with probability `random_rate` (BERT: 1/2), B
      comes from another document instead, from a random sentence on, and what the chunk does not use goes into the
      next one. Label 1 says that B is random, which therefore is a little more frequent than `random_rate`; with
      `two_sentences` it is just as frequent, as there are no chunks of one sentence.
    * Sentence order prediction (`swapped`; Lan et al. 2020, section 3.1): with probability 1/2 A and B change places,
      and the label is 1. Here `two_sentences` always holds.

    With `two_sentences` a chunk has two sentences at least, and a lone sentence at a document's end is left out.

    What is too long then loses tokens from the longer of A and B, each time from its front or its back by a coin.

    Every epoch is planned anew from (seed, epoch). The number of rows is that of epoch 0: a later plan that has more
    leaves random ones out, one that has fewer repeats random ones.

    `rows(indices [n], epochs [n])` gives int32 [n, length]: `tokens`; `segments`, 1 and on padding 0; `token_types`,
    0 for `[CLS] A [SEP]` and padding, 1 for `B [SEP]`; and `labels` int32 [n].

    Attributes:
        start, end: ([CLS],) and ([SEP],).
        short_pair_rate, swapped, random_rate, two_sentences: as above.
    """

    kind = "pairs"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    short_pair_rate: float = 0.0
    swapped: bool = False
    random_rate: float = 0.5
    two_sentences: bool = False

    def plan(self, split, *, seed=0, report=print):
        """As of all rows of text.

        Raises:
            ConfigError: no single [CLS] and [SEP] are given, or `length` leaves no room for two tokens.
            DataError: the split gives no pair.
        """
        del report
        return PairRows(self, split, seed)


class PairRows(RowSource):
    """The row source of `Pairs`."""

    def __init__(self, spec, split, seed):
        if len(spec.start) != 1 or len(spec.end) != 1:
            raise ConfigError("sentence pairs need a tokenizer with [CLS] and [SEP]: set tokenizer.kind to wordpiece")
        if spec.length < 5:
            raise ConfigError(
                f"rows of {spec.length} tokens have no room for a pair: raise data.sequence_length to 5 or more"
            )
        super().__init__(spec, split)
        self._seed = seed
        self._random_rate = 0.5 if spec.swapped else spec.random_rate
        self._two_sentences = spec.swapped or spec.two_sentences
        elsewhere = not spec.swapped and (spec.random_rate > 0 or not spec.two_sentences)
        if elsewhere and split.num_documents < 2:
            raise DataError(
                f"the {split.name} split of {split.source} is one document, but next sentence prediction takes "
                "sentences of other documents: give more documents, or read none of its pairs (objective.pairs=none)"
            )
        ends = split.sentence_ends()
        self._ends = array.array("q", ends.tobytes())  # bisect is several times faster on it than on numpy
        self._documents = np.searchsorted(ends, split.document_offsets, side="right").tolist()  # first sentences
        self._rows_of_epoch = functools.lru_cache(maxsize=2)(self._make_rows_of_epoch)  # a batch may span two
        self.num_rows = None
        self.num_rows = len(self._rows_of_epoch(0))
        if not self.num_rows:
            raise DataError(
                f"the {split.name} split of {split.source} has {split.num_tokens} tokens in {split.num_documents} "
                "documents, none of which has two sentences to pair: give more text"
            )

    def rows(self, indices, epochs):
        indices, epochs = np.asarray(indices, np.int64), np.asarray(epochs, np.int64)
        plan = np.empty((len(indices), _COLUMNS), np.int64)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            plan[chosen] = self._rows_of_epoch(epoch)[indices[chosen]]
        n, (a_start, a_stop, b_start, b_stop, labels) = len(plan), plan.T
        a_size, b_size = a_stop - a_start, b_stop - b_start
        length = self.spec.length
        row = np.arange(n) * length
        a_row, b_row = row + 1, row + a_size + 2  # where the tokens of A and B begin

        tokens = np.full(n * length, self.spec.pad, np.int32)
        segments, token_types = np.zeros((2, n * length), np.int32)
        tokens[row] = self.spec.start[0]
        tokens[a_row + a_size] = tokens[b_row + b_size] = self.spec.end[0]
        both = np.concatenate([a_start, b_start]), np.concatenate([a_stop, b_stop])
        sizes = np.concatenate([a_size, b_size])
        tokens[ranges(np.concatenate([a_row, b_row]), sizes)] = self.split.gather(*both)[0]
        segments[ranges(row, a_size + b_size + 3)] = 1
        token_types[ranges(b_row, b_size + 1)] = 1
        arrays = {"tokens": tokens, "segments": segments, "token_types": token_types}
        numbers = {"labels": labels, "row_id": indices, "epoch": epochs}
        return {k: v.reshape(n, length) for k, v in arrays.items()} | {
            k: v.astype(np.int32) for k, v in numbers.items()
        }

    def _make_rows_of_epoch(self, epoch):
        """The plan of an epoch, int64 [num_rows, 5], made as long as that of epoch 0."""
        plan = self._plan(random.Random(f"pairs {self._seed} {epoch}"))
        if self.num_rows is None or len(plan) == self.num_rows:
            return plan
        rng = np.random.default_rng([self._seed, epoch])
        if len(plan) > self.num_rows:
            kept = rng.choice(len(plan), self.num_rows, replace=False)
        else:  # two epochs differ by some thousandths, so no row is repeated more than once as a rule
            kept = np.concatenate([np.arange(len(plan)), rng.integers(len(plan), size=self.num_rows - len(plan))])
        return plan[np.sort(kept)]

    def _plan(self, rng):
        """Pairs all documents: int64 [pairs, 5]. Offsets only; the text is read when a row is."""
        plan, longest = array.array("q"), self.spec.length - 3
        for document in range(len(self._documents) - 1):
            target = rng.randint(2, longest) if rng.random() < self.spec.short_pair_rate else longest
            self._pair_document(document, target, rng, plan)
        return np.frombuffer(plan, np.int64).reshape(-1, _COLUMNS)

    def _pair_document(self, document, target, rng, plan):
        """Appends the pairs of one document to `plan`. Sentence i is tokens [ends[i - 1], ends[i])."""
        ends, (sentence, stop) = self._ends, self._documents[document : document + 2]
        while sentence < stop:
            a_start = self._start_of(sentence)
            last = min(bisect.bisect_left(ends, a_start + target, sentence, stop), stop - 1)
            if self._two_sentences:
                last = min(max(last, sentence + 1), stop - 1)
            sentences = last - sentence + 1
            if self._two_sentences and sentences == 1:
                return
            cut = sentence + (rng.randint(1, sentences - 1) if sentences > 1 else 1)
            a = (a_start, ends[cut - 1])
            label = int(sentences == 1 or rng.random() < self._random_rate)
            sentence = last + 1
            if not label or self.spec.swapped:
                b = (a[1], ends[last])
            else:
                b = self._elsewhere(document, target - (a[1] - a[0]), rng)
                sentence = cut
            if label and self.spec.swapped:
                a, b = b, a
            plan.extend((*_shorten(a, b, self.spec.length - 3, rng), label))

    def _elsewhere(self, document, wanted, rng):
        """Sentences of another document, from a random one on: `wanted` tokens or the rest, one sentence at least."""
        other = rng.randrange(len(self._documents) - 2)
        other += other >= document
        first, stop = self._documents[other : other + 2]
        begin = rng.randrange(first, stop)
        start = self._start_of(begin)
        last = min(bisect.bisect_left(self._ends, start + wanted, begin, stop), stop - 1)
        return start, self._ends[last]

    def _start_of(self, sentence):
        return self._ends[sentence - 1] if sentence else 0


def _shorten(a, b, longest, rng):
    """Takes tokens off two ranges until both together have `longest`; returns a start, a stop, b start, b stop.

    Each token comes off the longer range (off B where both are equal), at the front or the back with equal chance.
    How many come off each range does not depend on the coins, so these are thrown all at once.
    """
    a_size, b_size = a[1] - a[0], b[1] - b[0]
    excess = max(a_size + b_size - longest, 0)
    uneven = min(excess, abs(a_size - b_size))
    from_b = (excess - uneven + 1) // 2
    from_a = excess - uneven - from_b
    if a_size > b_size:
        from_a += uneven
    else:
        from_b += uneven
    a_front, b_front = (rng.getrandbits(count).bit_count() for count in (from_a, from_b))
    return a[0] + a_front, a[1] - (from_a - a_front), b[0] + b_front, b[1] - (from_b - b_front)
