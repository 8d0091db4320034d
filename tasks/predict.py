"""What a model answers on the examples of a task, in the form that `tasks.metrics.score` reads."""

import dataclasses

import numpy as np

import decoding
from errors import ConfigError
from tasks import answers, encoding, metrics

HEAD_OF = {"class": "class", "regression": "class", "choice": "choice", "tag": "tag", "span": "span"}


def from_heads(task, examples, features, batches, run, settings):
    """Predictions of a model with a head for the kind of the task.

    Args:
        task: tasks.Task.
        examples: its raw examples.
        features: data.examples.Features of them, all read once and in order.
        batches: data.pipeline.Data of these, rows of which hold one example each.
        run: number of a batch -> (what the head gives, `row_id`) as numpy arrays [B, ...] and [B].
        settings: config.task.

    Returns:
        List of predictions, one for each example.
    """
    kind, count = features.layout.kind, len(features.arrays["example"])
    found = [None] * count
    for step in range(int(batches.steps_per_epoch)):
        scores, row_id = run(step)
        for score, number in zip(scores, row_id.tolist(), strict=True):
            if number >= 0:
                found[number] = score
    if kind in ("class", "choice"):
        return [int(np.argmax(scores)) for scores in found]
    if kind == "regression":
        return [float(scores[0]) for scores in found]
    if kind == "tag":
        names = task.labels()
        default = names.index("O") if "O" in names else 0
        tags = answers.tags(features.arrays, [np.argmax(scores, axis=-1) for scores in found], examples, default)
        return [[names[tag] for tag in some] for some in tags]
    unanswerable = any(not example["answers"] for example in examples)
    spans = answers.spans(
        features.arrays, [scores[:, 0] for scores in found], [scores[:, 1] for scores in found], examples,
        n_best=settings.n_best, max_answer=settings.max_answer,
        null_threshold=settings.null_threshold if unanswerable else None,
    )  # fmt: skip
    return [spans[str(example.get("id", number))] for number, example in enumerate(examples)]


def head_scores(outputs, kind):
    """What the head of a kind gives, f32 [B, ...]."""
    return {"tag": outputs.tag_logits, "span": outputs.span_logits}.get(kind, outputs.class_logits)


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A model that writes.

    Attributes:
        model, params: with the head "lm".
        tokenizer: data.tokenizers.Tokenizer.
        layout: objectives.base.Layout of kind text.
        pad: id that fills rows up.
        prefix: objective.prefix, of decoders.
        batch_size: rows that are run at once.
    """

    model: object
    params: object
    tokenizer: object
    layout: object
    pad: int
    prefix: str
    batch_size: int

    @property
    def two_streams(self):
        return self.layout.architecture == "encoder_decoder"

    def prompts(self, examples, room):
        """[int32 array] of the tokens that each example is answered after; `room` is kept for the answer."""
        layout = self.layout if self.two_streams else dataclasses.replace(self.layout, length=self.layout.length - room)
        if layout.length < 2:
            raise ConfigError(
                f"rows of {self.layout.length} tokens have no room for a prompt beside answers of {room}: lower the "
                "most tokens of an answer, or raise data.sequence_length"
            )
        arrays = encoding.encode([_unanswered(example) for example in examples], self.tokenizer, layout, ())
        offsets = arrays["offsets"]
        return [arrays["tokens"][a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]

    def write(self, examples, max_tokens):
        """[str]: the answers, greedily."""
        end = self.layout.end[-1] if self.layout.end else self.pad
        texts = []
        for rows, lengths in self._batches(self.prompts(examples, max_tokens)):
            batch, prompt_lengths = self._first(rows, lengths)
            tokens, sizes = decoding.greedy(
                self.model, self.params, batch, prompt_lengths, max_tokens=max_tokens, end_id=end, pad_id=self.pad,
                prefix=self.prefix,
            )  # fmt: skip
            tokens, sizes = np.asarray(tokens), np.asarray(sizes)
            texts += [self.tokenizer.decode(row[:size]) for row, size in zip(tokens, sizes, strict=True)]
        return [text.strip() for text in texts[: len(examples)]]

    def choose(self, examples, words):
        """[int]: of the words (for all, or a sequence for each example), the most probable answer to each."""
        ids = [self.tokenizer.encode(word) for word in words]
        prompts, found = self.prompts(examples, max(map(len, ids))), []
        start = self.layout.target_start[0] if self.layout.target_start else None
        for first in range(0, len(prompts), self.batch_size):
            some = prompts[first : first + self.batch_size]
            some += [some[-1]] * (self.batch_size - len(some))  # one shape, one program
            batch = decoding.continuations(
                some, [ids] * len(some), architecture=self.layout.architecture, length=self.layout.length,
                pad_id=self.pad, decoder_start=start, prefix=self.prefix,
            )  # fmt: skip
            found += np.argmax(decoding.log_probability(self.model, self.params, batch), axis=-1).tolist()
        return found[: len(prompts)]

    def likelihoods(self, texts, report):
        """[metrics.Likelihood] of texts: each token is predicted from half a row at least, where there is so much.

        The token that ends texts, which stands before a text, is the first that is read.
        """
        length, start = self.layout.length, self.layout.end[-1] if self.layout.end else self.pad
        nats = np.zeros(len(texts))
        rows, owners = [], []
        for number, text in enumerate(texts):
            ids = np.concatenate([[start], self.tokenizer.encode(text)]).astype(np.int32)
            for first in range(0, max(len(ids) - 1, 1), length // 2):
                window = ids[first : first + length + 1]
                known = 0 if first == 0 else length - length // 2  # targets that the window before has scored
                rows.append((window, known))
                owners.append(number)
                if first + length + 1 >= len(ids):
                    break
        report(f"scoring {len(texts)} text(s) in {len(rows)} windows of {length} tokens")
        for first in range(0, len(rows), self.batch_size):
            some = rows[first : first + self.batch_size]
            batch = self._windows(some)
            scored = -np.asarray(decoding.log_probability(self.model, self.params, batch))
            np.add.at(nats, owners[first : first + len(some)], scored[: len(some)])
        return [metrics.Likelihood(float(value)) for value in nats]

    def last_words(self, texts):
        """[str]: the word that the model writes behind each text without its last one."""
        prompts = [{"inputs": metrics.last_word(text)[0], "targets": None} for text in texts]
        return [(text.split() or [""])[0] for text in self.write(prompts, max_tokens=8)]

    def _windows(self, some):
        length = self.layout.length
        batch = {
            "tokens": np.full((self.batch_size, length), self.pad, np.int32),
            "targets": np.full((self.batch_size, length), self.pad, np.int32),
            "target_weights": np.zeros((self.batch_size, length), np.float32),
        }
        for row, (window, known) in enumerate(some):
            size = len(window) - 1
            batch["tokens"][row, :size], batch["targets"][row, :size] = window[:-1], window[1:]
            batch["target_weights"][row, known:size] = 1
        return batch

    def _batches(self, prompts):
        """Yields prompts as (int32 [batch_size, T], lengths [batch_size]), T being one of a few."""
        for first in range(0, len(prompts), self.batch_size):
            some = prompts[first : first + self.batch_size]
            longest = max(map(len, some))
            size = next(s for s in (32, 64, 128, 256, self.layout.length, longest) if s >= longest)
            rows = np.full((self.batch_size, min(size, max(self.layout.length, longest))), self.pad, np.int32)
            lengths = np.zeros(self.batch_size, np.int32)
            for row, prompt in enumerate(some):
                rows[row, : len(prompt)], lengths[row] = prompt, len(prompt)
            yield rows, lengths

    def _first(self, rows, lengths):
        """(what the model reads first, tokens of each prompt of the decoder)."""
        if not self.two_streams:
            return {"tokens": rows}, lengths
        start = np.array(self.layout.target_start, np.int32)
        batch = {
            "tokens": rows,
            "segments": (np.arange(rows.shape[1]) < lengths[:, None]).astype(np.int32),
            "decoder_tokens": np.tile(start, (len(rows), 1)),
        }
        return batch, np.where(lengths > 0, len(start), 0).astype(np.int32)


def _unanswered(example):
    """The example without what is to be answered."""
    if "turns" not in example:
        return {**example, "targets": None}
    turns = list(example["turns"])
    while turns and turns[-1][0] != "assistant":
        turns.pop()
    return {**example, "turns": (*turns[:-1], ("assistant", None))}
