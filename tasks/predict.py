"""What a model answers on the examples of a task, in the form that `tasks.metrics.score` reads."""

import copy
import dataclasses
import functools
import itertools
import re
from typing import NamedTuple

import jax
import numpy as np

from cloze import decoding
from cloze.data import encoding
from cloze.data.encoding import collector
from cloze.decoding.streaming import Growing
from cloze.errors import ConfigError, DataError
from cloze.tasks import answers, metrics, shots, vectors
from cloze.tasks.label_scores import AnswerScores
from cloze.tasks.progress import Progress

HEAD_OF = {
    "class": "class", "regression": "class", "choice": "choice", "tag": "tag", "span": "span", "embedding": "embedding",
}  # fmt: skip
_LENGTHS = 32, 64, 128, 256, 512  # of rows of prompts: each is a program to compile
_WORD = 8  # tokens of a word, and of what shows that it has ended


def from_heads(task, examples, features, scored, settings, unanswerable=None):
    """Predictions of a model with a head for the kind of the task.

    Args:
        task: tasks.Task.
        examples: its raw examples.
        features: data.examples.Features of them, in order.
        scored: batches of (what the head gives, f32 [B, ...], the numbers of the features, int [B], -1 for filler),
            each feature once.
        settings: config.task.
        unanswerable: of kind span, whether a question may have no answer; None: whether one of these has none.

    Returns:
        List of predictions, one for each example.
    """
    kind, per_feature = features.layout.kind, [None] * len(features.arrays["example"])
    for scores, numbers in scored:
        for score, number in zip(scores, numbers.tolist(), strict=True):
            if number >= 0:
                per_feature[number] = score
    if kind == "embedding":
        return vectors.predictions(task, examples, per_feature)
    if kind == "class":
        return [int(np.argmax(scores)) for scores in per_feature]
    if kind == "choice":  # others in the batch may have had more choices
        sizes = [len(example["choices"]) for example in examples]
        return [int(np.argmax(scores[:size])) for scores, size in zip(per_feature, sizes, strict=True)]
    if kind == "regression":
        return [float(scores[0]) for scores in per_feature]
    if kind == "tag":
        names = task.labels()
        default = names.index("O") if "O" in names else 0
        tags = answers.tags(features.arrays, [np.argmax(scores, axis=-1) for scores in per_feature], examples, default)
        return [[names[tag] for tag in some] for some in tags]
    if unanswerable is None:
        unanswerable = any(not example["answers"] for example in examples)
    return answers.spans(
        features.arrays, [scores[:, 0] for scores in per_feature], [scores[:, 1] for scores in per_feature], examples,
        n_best=settings.n_best, max_answer=settings.max_answer,
        null_threshold=settings.null_threshold if unanswerable else None,
    )  # fmt: skip


def head_scores(outputs, kind):
    """What the head of a kind gives, f32 [B, ...]."""
    return outputs.heads[HEAD_OF[kind]]


class Answer(NamedTuple):
    """What was written.

    Attributes:
        text: without white space around it, and before a stop text.
        ids: int32 [n], the tokens before the end.
        ended: whether the model ended it, before there were too many tokens.
        score: of a search by beams, log-probability in nats over the normalised length; else None.
    """

    text: str
    ids: np.ndarray
    ended: bool
    score: float | None


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A model that writes.

    Attributes:
        model, params: with the head "lm".
        tokenizer: data.tokenizers.Tokenizer.
        layout: data.encoding.Layout of kind text.
        pad: id that fills rows up.
        prefix: objective.prefix, of decoders.
        batch_size: prompts that are run at once.
        report: called with messages.
        devices: where it runs.
    """

    model: object
    params: object
    tokenizer: object
    layout: object
    pad: int
    prefix: str
    batch_size: int
    report: object = print
    devices: decoding.Devices = decoding.Devices()

    @functools.cached_property
    def _writing(self):
        """The parameters, made ready for writing once."""
        return decoding.for_writing(self.params)

    @property
    def two_streams(self):
        return self.layout.architecture == "encoder_decoder"

    def begins(self, prompt):
        """Whether there is a token to go on from: one of the prompt's, or one that stands before every prompt."""
        return bool(self.layout.start or self.two_streams or len(self.tokenizer.encode(prompt)))

    def room(self, answer):
        """Tokens of a prompt at most, special ones included, beside an answer of so many."""
        room = self.layout.length if self.two_streams else self.layout.length - answer
        if room < 2 + len(self.layout.start) + len(self.layout.end):
            raise ConfigError(
                f"rows of {self.layout.length} tokens have no room for a prompt beside answers of {answer}: lower "
                "--max_tokens, or use a model that was trained with a greater data.sequence_length"
            )
        return room

    def prompts(self, examples, answer):
        """[int32 array] of the tokens that each example is answered after; what is cut of them is reported.

        Args:
            examples: of kind text.
            answer: tokens that there must be room for behind a prompt: of all, or a sequence with those of each.
        """
        prompts, cut = self.encoded(examples, answer)
        for line in encoding.describe({"cut": cut}, self.layout):
            self.report(line)
        return prompts

    def encoded(self, examples, answer):
        """(what `prompts` gives, int [n]: how many tokens of each found no room)."""
        rooms = self._rooms(examples, answer)
        prompts, cut = [None] * len(examples), np.zeros(len(examples), np.int64)
        for room in sorted(set(rooms)):
            mine = [number for number, other in enumerate(rooms) if other == room]
            layout = dataclasses.replace(self.layout, length=room)
            arrays = encoding.encode([_unanswered(examples[i]) for i in mine], self.tokenizer, layout, ())
            for number, (a, b) in zip(mine, itertools.pairwise(arrays["offsets"]), strict=True):
                prompts[number] = arrays["tokens"][a:b]
            cut[mine] = arrays["cut"]
        return prompts, cut

    def around(self, text, ids):
        """int32 [n], a text with special tokens where it spells their pieces, as the model reads a prompt."""
        parts = self.layout.start, self.tokenizer.encode_around(text, ids), self.layout.end
        return np.concatenate(parts).astype(np.int32)

    def _rooms(self, examples, answer):
        return [self.room(tokens) for tokens in np.broadcast_to(answer, len(examples)).tolist()]

    def show(self, examples, name, training, count, answer):
        """Examples with others in front; see tasks.shots.

        Args:
            examples: of kind text.
            name: of the task.
            training: iterable of examples of kind text, the first `count` of which are shown.
            count: how many.
            answer: tokens that an answer may have: of all, or a sequence with those of each.
        """
        layout = self.layout
        special = len(layout.start + layout.end + (() if self.two_streams else layout.separator))
        front = shots.first(training, count, name)
        shown = [
            shots.show(one, front, lambda text, room=room: len(self.tokenizer.encode(text)) + special <= room)
            for one, room in zip(examples, self._rooms(examples, answer), strict=True)
        ]
        counts = [number for _, number in shown]
        if min(counts) < count:
            self.report(f"{name}: prompts have room for {np.mean(counts):.1f} of {count} examples in front, on average")
        return [example for example, _ in shown]

    def longest(self, words):
        """Tokens of the longest of the answers that are chosen from, about: behind a prompt they may have others."""
        encoded = self.tokenizer.encode_batch([word if self.two_streams else f" {word}" for word in words])
        return max(len(self._answer(ids)) for ids in encoded)

    def write(self, examples, max_tokens):
        """[str]: the answers, greedily."""
        return self._continue(self.prompts(examples, max_tokens), max_tokens)

    def answer_scores(self, examples, words):
        """How probable answers are.

        Args:
            examples: of kind text.
            words: a sequence of str for each example: what it may be answered with.

        Returns:
            [label_scores.AnswerScores], one for each example.

        Raises:
            DataError: a word or a prompt of which the tokenizer leaves nothing.
        """
        ids, lost = self.continued(examples, words)
        sizes, widest = [max(map(len, some)) for some in ids], max(map(len, ids))
        longest, found, done = max(sizes), [], Progress(self.report, "prompts with answers", len(examples))
        prompts = self.prompts(examples, sizes)
        prompts = [prompt[: max(len(prompt) - count, 0)] for prompt, count in zip(prompts, lost, strict=True)]
        ids = [some + [some[-1]] * (widest - len(some)) for some in ids]  # of equal ones the first is the answer
        for first in range(0, len(prompts), self.batch_size):
            here = slice(first, first + self.batch_size)
            filler = self.batch_size - len(prompts[here])  # one shape, one program
            batch = decoding.continuations(
                prompts[here] + [prompts[first]] * filler, ids[here] + [ids[first]] * filler,
                architecture=self.layout.architecture, length=self.layout.length, pad_id=self.pad,
                decoder_start=self.layout.decoder_start, prefix=self.prefix,
            )  # fmt: skip
            scores = self._log_probability(_widened(batch, longest))
            counts = batch["target_weights"].sum(axis=-1)
            found += [AnswerScores(*pair) for pair in zip(scores, counts, strict=True)]
            done(len(prompts[here]))
        return [
            AnswerScores(one.log_probs[: len(some)], one.tokens[: len(some)])
            for one, some in zip(found, words, strict=False)
        ]

    def continued(self, examples, words):
        """What words are behind prompts.

        A decoder's prompt and word are encoded as one text, which is cut where that of the prompt alone, or another
        word's, goes on differently: only the tokenizer knows whether a space belongs to the piece behind it.
        The decoder of two stacks begins with the word.

        Args:
            examples: of kind text, with `inputs`.
            words: a sequence of str for each example.

        Returns:
            ([[int32 array]], the ids of the words of each example; [int], how many ids at the end of each prompt are
            not before all of its words, but among their ids).

        Raises:
            DataError: nothing is left of a word.
        """
        if self.two_streams:
            encoded = iter(self.tokenizer.encode_batch([word for some in words for word in some]))
            found, lost = [[next(encoded) for _ in some] for some in words], [0] * len(words)
        else:
            found, lost = [], []
            alone = self.tokenizer.encode_batch([example["inputs"] for example in examples])
            pairs = zip(examples, words, strict=True)
            texts = [shots.answered(example["inputs"], word) for example, some in pairs for word in some]
            encoded = iter(self.tokenizer.encode_batch(texts))
            for prompt, some in zip(alone, words, strict=True):
                whole = [next(encoded) for _ in some]
                common = min(_common(prompt, ids) for ids in whole)
                found.append([ids[common:] for ids in whole])
                lost.append(len(prompt) - common)
        for number, (some, ids) in enumerate(zip(words, found, strict=True)):
            if empty := [word for word, of_word in zip(some, ids, strict=True) if not len(of_word)]:
                raise DataError(
                    f"{collector.name(examples[number], number)} has the answer {empty[0]!r}, of which the tokenizer "
                    "leaves nothing: write another, or use a tokenizer that knows its characters"
                )
        return [[self._answer(ids) for ids in some] for some in found], lost

    def likelihoods(self, texts, units=""):
        """[metrics.Likelihood] of texts: each token is predicted from half a row at least, where there is so much.

        What stands before a text is the token that texts begin with, or else the one that ends them. The latter is
        predicted behind a text whose end is one of its units (metrics.ends_line).

        Args:
            texts: list of str.
            units: of the task; of "last_word" that alone counts.
        """
        length, nats, predicted = self.layout.length, np.zeros(len(texts)), []
        rows, owners = [], []
        for number, text in enumerate(texts):
            ids = self._text(text)
            if metrics.ends_line(text, units):
                ids = np.append(ids, np.array(self.layout.end, np.int32))
            counted = _common(self._text(text), self._text(metrics.last_word(text)[0])) if units == "last_word" else 1
            predicted.append(max(len(ids) - counted, 0))
            for first in range(0, max(len(ids) - 1, 1), length // 2):
                before = 0 if first == 0 else length - length // 2  # targets that the window before has scored
                rows.append((ids[first : first + length + 1], max(before, counted - 1 - first)))
                owners.append(number)
                if first + length + 1 >= len(ids):
                    break
        self.report(f"scoring {len(texts):,} texts in {len(rows):,} windows of {length} tokens")
        done = Progress(self.report, "windows", len(rows))
        for first in range(0, len(rows), self.batch_size):
            some = rows[first : first + self.batch_size]
            scored = -self._log_probability(self._windows(some))
            np.add.at(nats, owners[first : first + len(some)], scored[: len(some)])
            done(len(some))
        return [metrics.Likelihood(float(a), tokens=b) for a, b in zip(nats, predicted, strict=True)]

    def last_words(self, texts):
        """[str]: the word that the model writes behind each text without its last one, without punctuation."""
        room = self.room(_WORD)
        prompts = [self._text(metrics.last_word(text)[0])[-room:] for text in texts]
        matches = [re.match(r"\w[\w'’-]*|\S*", text) for text in self._continue(prompts, _WORD)]
        return [match.group() for match in matches]

    def _log_probability(self, batch):
        """See `decoding.log_probability`; a numpy array."""
        with self.devices.context():
            found = decoding.log_probability(self.model, self.params, self.devices.place(batch))
            return decoding.to_host(found)

    def _text(self, text):
        """The ids of a text, behind what stands before texts."""
        (*_, start) = self.layout.start or self.layout.end
        return np.concatenate([[start], self.tokenizer.encode(text)]).astype(np.int32)

    def _answer(self, ids):
        """The ids of an answer, behind what stands before answers."""
        most = max(1, self.layout.length // 2)  # of a long answer, what is compared
        return np.concatenate([np.array(self.layout.target_start, np.int32), ids[:most]])

    def _continue(self, prompts, max_tokens):
        """[str]: what is written greedily behind prompts, lists of ids."""
        options = decoding.DecodingOptions(max_tokens=max_tokens, temperature=0)
        return [answer.text for (answer,) in self.answers(prompts, options)]

    def answers(self, prompts, options, show=None):
        """Yields [Answer] for each prompt: what is written behind it.

        Args:
            prompts: lists of ids, special ones included, as `prompts` and `blanks` give them.
            options: decoding.DecodingOptions.
            show: called with pieces of the text as they are certain; of one prompt and one sample.
        """
        for first in range(0, len(prompts), self.batch_size):
            some = prompts[first : first + self.batch_size]
            yield from self._answers(some, first, options, show)[: len(some)]

    def _answers(self, prompts, first, options, show):
        count, ends = options.num_samples, self.end_ids
        rows, lengths = self._rows(prompts, self.room(options.max_tokens))
        batch, prompt_lengths = self._first(rows, lengths)
        growing = [Growing(self._decode, options.stop, show) for _ in range(len(prompts) * count)]

        def grow(row, tokens, over):
            size = int(np.append(np.isin(tokens, ends), True).argmax())  # tokens before the end
            return growing[row].feed(tokens[:size], over or size < len(tokens))

        def watch(tokens, number):
            over = [grow(row, tokens[row, :number], number == options.max_tokens) for row in range(len(growing))]
            return np.array(over + [True] * (len(tokens) - len(over)))

        watched = bool(options.stop or show)
        place = self.devices.place
        with self.devices.context():
            written = decoding.write(
                self.model, self._writing, place(batch), place(prompt_lengths), self._valid,
                options=options, end_ids=ends, pad_id=self.pad, prefix=self.prefix,
                keys=place(_keys(options, first, len(rows))) if options.draws else None,
                watch=watch if watched else None, every=1 if show else 8,
            )  # fmt: skip
        found = []
        for row, grown in enumerate(growing):
            size = int(written.lengths[row])
            ids = written.tokens[row, :size]
            text = grown.text if watched else self._decode(ids).strip()
            score = None if written.scores is None else float(written.scores[row])
            found.append(Answer(text, ids, size < options.max_tokens, score))
        return [found[i : i + count] for i in range(0, len(found), count)]

    @property
    def end_ids(self):
        """The ids of which each ends what is written."""
        *_, end = self.layout.end
        return (end, *self.tokenizer.ends)

    @property
    def _valid(self):
        valid = np.zeros(self.model.config.vocab_size, bool)
        valid[: len(self.tokenizer.has_piece)] = self.tokenizer.has_piece
        return valid

    def _decode(self, ids):
        return self.tokenizer.decode(ids)

    def _windows(self, some):
        length = self.layout.length
        batch = {
            "tokens": np.full((self.batch_size, length), self.pad, np.int32),
            "targets": np.full((self.batch_size, length), self.pad, np.int32),
            "target_weights": np.zeros((self.batch_size, length), np.float32),
        }
        for row, (window, first) in enumerate(some):
            size = len(window) - 1
            batch["tokens"][row, :size], batch["targets"][row, :size] = window[:-1], window[1:]
            batch["target_weights"][row, first:size] = 1
        return batch

    def _rows(self, prompts, room):
        """Prompts as (int32 [batch_size, T], lengths [batch_size]), T being one of a few."""
        longest = max(map(len, prompts))
        size = next(size for size in (*(s for s in _LENGTHS if s < room), room) if size >= longest)
        rows = np.full((self.batch_size, size), self.pad, np.int32)
        lengths = np.zeros(self.batch_size, np.int32)
        for row, prompt in enumerate(prompts):
            rows[row, : len(prompt)], lengths[row] = prompt, len(prompt)
        return rows, lengths

    def _first(self, rows, lengths):
        """(what the model reads first, tokens of each prompt of the decoder)."""
        if not self.two_streams:
            return {"tokens": rows}, lengths
        start = np.array([self.layout.decoder_start, *self.layout.target_start], np.int32)
        batch = {
            "tokens": rows,
            "segments": (np.arange(rows.shape[1]) < lengths[:, None]).astype(np.int32),
            "decoder_tokens": np.tile(start, (len(rows), 1)),
        }
        return batch, np.where(lengths > 0, len(start), 0).astype(np.int32)


def _keys(options, first, size):
    """Random keys [size * num_samples] of prompts from number `first` on: a text depends on seed, prompt and sample."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    prompts = fold(jax.random.key(options.seed), first + np.arange(size))
    return jax.vmap(fold, (0, None))(prompts, np.arange(options.num_samples)).reshape(-1)


def _common(ids, others):
    """How many ids two arrays have in common at their beginning."""
    size = min(len(ids), len(others))
    differing = np.flatnonzero(ids[:size] != others[:size])
    return int(differing[0]) if len(differing) else size


def _widened(batch, count):
    """A batch of decoding.continuations with `count` targets a row, the further ones without weight."""
    batch = dict(batch)
    for name in ("targets", "target_weights", "prediction_positions", "decoder_tokens"):
        if name in batch:
            more = [(0, 0)] * (batch[name].ndim - 1) + [(0, count - batch[name].shape[-1])]
            batch[name] = np.pad(batch[name], more, mode="constant" if name == "target_weights" else "edge")
    return batch


def _unanswered(example):
    """The example without what is to be answered."""
    shown = copy.copy(example)  # with the file and line that it is from
    if "turns" not in example:
        shown["targets"] = None
        return shown
    turns = list(example["turns"])
    while turns and turns[-1][0] != "assistant":
        turns.pop()
    shown["turns"] = (*turns[:-1], ("assistant", None))
    return shown
