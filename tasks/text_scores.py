"""How probable whole texts are, for every kind of model, and what it would put into a blank.

`causal`: the log-probability of a text, token by token from left to right. An encoder-decoder reads an empty text and
writes this one.

`pll`: pseudo-log-likelihood, the sum over tokens of the log-probability of each given the others, with the correction
within words: what follows in the same word is hidden with the token, or else the pieces of a rare word give each other
away (Kauf and Ivanova 2023, section 3.2, "PLL-word-l2r"). A word is a run of letters, digits and underscores; each
other run of characters without white space is a word of its own.

`pll_original`: the token alone is hidden (Salazar et al. 2020, section 2).

A decoder that learned masked next-token prediction reads the whole row and predicts a hidden token one place before it
(Charpentier and Samuel 2024, section 2). An encoder-decoder reads one sentinel, or one mask where it has none, in place
of what is hidden. With sentinels it writes what is missing behind the sentinel (Raffel et al. 2020, section 3.1.4),
whose first hidden token is scored. With masks it writes the text anew and is scored at the hidden token (Lewis et al.
2020, section 2.2).
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cloze.decoding import row_scoring
from cloze.decoding.row_scoring import Row
from cloze.errors import ConfigError, DataError
from cloze.tasks.progress import Progress

SCORINGS = ("auto", "causal", "pll", "pll_original")
BLANK = "[MASK]"  # in files, whatever the model's own is
_WORD = re.compile(r"\w+|[^\w\s]+")


class TextScore(NamedTuple):
    """Of one text.

    Attributes:
        log_prob: in nats.
        tokens: that were predicted.
    """

    log_prob: float
    tokens: int


class Blank(NamedTuple):
    """What a model would put into the blank of a text.

    Attributes:
        rank: of the answer among all pieces that are text, from 1; of equal ones the worst.
        log_prob: of the answer, in nats.
        best: ((piece, probability), ...), the most probable first.
    """

    rank: int
    log_prob: float
    best: tuple[tuple[str, float], ...]


def scoring_of(heads: Iterable[str], architecture: str, objective: str, tables: Any, asked: str = "auto") -> str:
    """How a model scores texts.

    Args:
        heads, architecture: of its configuration.
        objective: objective.name of its run.
        tables: data.tokenizers.Tables.
        asked: one of SCORINGS.

    Returns:
        "causal", "pll" or "pll_original".

    Raises:
        ConfigError: it cannot, as it is asked to or at all.
    """
    blanks = "mlm" in heads and architecture == "encoder" and tables.mask is not None
    writes = "lm" in heads and architecture in ("decoder", "encoder_decoder")
    hides = blanks or (objective == "masked_next_token" and writes)
    if writes and architecture == "encoder_decoder":
        hides = bool(len(tables.sentinels)) or tables.mask is not None
    if not (writes or blanks):
        raise ConfigError(
            f"this run's model, of architecture {architecture} with the heads {', '.join(heads) or 'none'}, cannot say "
            "how probable a text is: that takes the head lm or mlm, as pretraining with next or masked tokens gives it"
        )
    if asked == "causal" and not writes:
        raise ConfigError(
            "--scoring=causal reads from left to right, this run's model fills blanks: use pll or pll_original"
        )
    if asked.startswith("pll") and not hides:
        raise ConfigError(
            f"--scoring={asked} hides tokens, and this run (objective.name={objective}) has not learned to fill them "
            "in: use --scoring=causal"
        )
    return ("pll" if hides else "causal") if asked == "auto" else asked


@dataclasses.dataclass(frozen=True)
class TextScorer:
    """A model that says how probable texts are.

    Attributes:
        model, params: with the head "lm" or "mlm".
        tokenizer: data.tokenizers.Tokenizer.
        scoring: of `scoring_of`.
        length: tokens of a row at most.
        start: ids before a text.
        end: ids behind a text, in what is read in both directions.
        decoder_start: ids that the decoder of an encoder-decoder begins with.
        batch_size: rows that are run at once.
        report: called with messages.
        devices: where it runs.
    """

    model: Any
    params: Any
    tokenizer: Any
    scoring: str
    length: int
    start: tuple[int, ...]
    end: tuple[int, ...]
    decoder_start: tuple[int, ...] = ()
    batch_size: int = 32
    report: Callable[[str], None] = print
    devices: row_scoring.Devices = row_scoring.ONE

    @property
    def architecture(self) -> str:
        return self.model.config.architecture

    def scores(self, texts: Sequence[str], what: str = "texts") -> list[TextScore]:
        """The TextScore of each text; equal texts are run once.

        Args:
            texts: of one token at least each, and no longer than a row.
            what: they are called in messages.

        Raises:
            DataError: a text of which the tokenizer leaves nothing, or one that is too long.
        """
        different = list(dict.fromkeys(texts))
        make = self._causal if self.scoring == "causal" else self._hidden
        per_text = [make(text, ids, words) for text, ids, words in self._encoded(different)]
        rows, counts = [row for some in per_text for row in some], [len(some) for some in per_text]
        done = Progress(self.report, f"{what}: rows of {self.scoring}", len(rows))
        scored = row_scoring.score(self.model, self.params, rows, done=done, **self._sizes)
        owners = np.repeat(np.arange(len(different)), counts)
        sums = np.bincount(owners, scored.log_probs, len(different))
        tokens = np.bincount(owners, [len(row.targets) for row in rows], len(different)).astype(int)
        found = {text: TextScore(float(a), int(b)) for text, a, b in zip(different, sums, tokens, strict=True)}
        return [found[text] for text in texts]

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text has a token, and no more than a row has room for."""
        return [0 < len(ids) <= self._room for ids in self.tokenizer.encode_batch(list(texts))]

    def blanks(self, texts: Sequence[str], answers: Sequence[str], count: int = 10) -> list[Blank | None]:
        """The place of each answer among all pieces that may stand in the blank.

        A model that reads from left to right does not see what is behind the blank (Petroni et al. 2019, section 4.3).

        Args:
            texts: with one BLANK.
            answers: one for each.
            count: pieces that are kept in `Blank.best`.

        Returns:
            None where the answer is not one piece of the vocabulary there, or the text has no room or not one blank.
        """
        pairs = zip(texts, answers, strict=True)
        asked = {n: pair for n, (text, answer) in enumerate(pairs) if (pair := self._asked(text, answer))}
        is_text = ~self.tokenizer.tables.special & self.tokenizer.has_piece
        rows, done = [row for row, _ in asked.values()], Progress(self.report, "blanks", len(asked))
        numbers, found = list(asked), [None] * len(texts)
        for row, log_probs in row_scoring.vocabulary(self.model, self.params, rows, is_text, done=done, **self._sizes):
            number = numbers[row]
            answer = asked[number][1]
            best = np.argsort(-log_probs, kind="stable")[:count]
            named = tuple((self.tokenizer.piece(int(i)), float(np.exp(log_probs[i]))) for i in best)
            found[number] = Blank(int(np.sum(log_probs >= log_probs[answer])), float(log_probs[answer]), named)
        return found

    @property
    def _room(self):
        return self.length - len(self.start) - len(self.end)

    @property
    def _sizes(self):
        pad = self.tokenizer.tables.pad
        return dict(
            length=self.length, batch_size=self.batch_size, pad_id=0 if pad is None else pad, devices=self.devices
        )

    def _encoded(self, texts):
        """Yields (text, ids int32 [n], the number of the word that each is of, int [n])."""
        room = self._room
        for text, (ids, offsets) in zip(texts, self.tokenizer.encode_with_offsets(texts), strict=True):
            if not 0 < len(ids) <= room:
                raise DataError(
                    f"the text {_short(text)} has {len(ids)} tokens: the model scores texts of 1 to {room} "
                    f"(data.sequence_length={self.length})"
                )
            yield text, ids, _words(text, offsets)

    def _causal(self, text, ids, words):
        """The only row of a text."""
        places = np.arange(len(ids))
        if self.decoder_start:
            first, written = len(self.decoder_start) - 1, np.array([*self.decoder_start, *ids[:-1]], np.int32)
            return [Row(np.array([*self.start, *self.end], np.int32), first + places, ids, written)]
        first = len(self.start) - 1
        return [Row(np.array([*self.start, *ids[:-1]], np.int32), first + places, ids)]

    def _hidden(self, text, ids, words):
        """The rows of a text, one for each token."""
        whole = self.scoring == "pll"
        last = [n + np.sum(words[n:] == words[n]) if whole and words[n] >= 0 else n + 1 for n in range(len(ids))]
        return [self._without(ids, n, int(last[n]), ids[n]) for n in range(len(ids))]

    def _without(self, ids, first, last, target):
        """The row that hides ids[first:last] and asks for the first of them."""
        tables = self.tokenizer.tables
        place = len(self.start) + first
        if self.decoder_start:
            sentinels = tables.sentinels.tolist()
            hole = sentinels[0] if sentinels else tables.mask
            read = np.array([*self.start, *ids[:first], hole, *ids[last:], *self.end], np.int32)
            written = np.array([*self.decoder_start, *([hole] if sentinels else ids[:first])], np.int32)
            return Row(read, np.array([len(written) - 1]), np.array([target]), written)
        tokens = np.array([*self.start, *ids, *self.end], np.int32)
        tokens[place : place + last - first] = tables.mask
        ahead = self.architecture == "decoder"  # what is hidden is predicted as a next token
        return Row(tokens, np.array([place - ahead]), np.array([target]), sees_all=ahead)

    def _asked(self, text, answer):
        """(Row at the blank, id of the answer), or None."""
        if text.count(BLANK) != 1:
            return None
        before, blank, after = text.partition(BLANK)
        ids, offsets = self.tokenizer.encode_with_offsets([before + answer + after])[0]
        inside = np.flatnonzero((offsets[:, 1] > len(before)) & (offsets[:, 0] < len(before) + len(answer)))
        inside = [n for n in inside if (before + answer + after)[offsets[n, 0] : offsets[n, 1]].strip() == answer]
        if len(inside) != 1 or len(ids) > self._room:
            return None
        (n,) = inside
        if self.scoring == "causal":
            row = self._causal(text, ids[: n + 1], None)[0]
            return row._replace(places=row.places[-1:], targets=row.targets[-1:]), int(ids[n])
        return self._without(ids, n, n + 1, ids[n]), int(ids[n])


def _words(text, offsets):
    """int [n], which word each piece is of; -1: none, such as white space."""
    ends = np.array([match.end() for match in _WORD.finditer(text)], np.int64)
    starts = np.array([match.start() for match in _WORD.finditer(text)], np.int64)
    first = np.array([b - len(text[a:b].lstrip()) for a, b in offsets.tolist()], np.int64)  # without white space
    numbers = np.searchsorted(ends, first, side="right")
    known = (numbers < len(ends)) & (first < offsets[:, 1])
    known[known] = starts[numbers[known]] <= first[known]
    return np.where(known, numbers, -1)


def _short(text):
    return repr(text if len(text) < 80 else text[:77] + "...")
