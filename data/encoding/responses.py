"""Examples that are answered with text: a prompt and a response, or a dialogue in which one side is learned.

A decoder reads prompt and response as one text. Of a dialogue it learns every turn of the assistant, each turn being
followed by the token that ends texts (Zhang et al. 2020, DialoGPT, section 3.1); an encoder-decoder reads all turns
before the assistant's last one, which it learns.

Where there is too little room prompts are cut: texts at their end (or at their beginning, see `Layout.cut_left`),
dialogues at their beginning, whole turns first. The last response is cut to the layout's target_length, or where it has
too little room of its own, and then at its end; the token that ends it follows.
"""

import dataclasses
from typing import Any

import numpy as np

from cloze.data.encoding.collector import name, value_of
from cloze.errors import ConfigError, DataError

LEARNED = "assistant"


@dataclasses.dataclass(frozen=True)
class _Turn:
    """A piece of text: `ids` int32 [n], None of a response that is not known; `learned`, whether it is a response."""

    ids: Any
    learned: bool

    def __len__(self):
        return 0 if self.ids is None else len(self.ids)


def add(collector, examples, tokenizer, labels, training):
    """Adds examples of kind text; arguments as of `data.encoding.encode`, examples numbered."""
    del labels
    layout = collector.layout
    parts = [_parts(example, number, training) for number, example in examples]
    encoded = iter(tokenizer.encode_batch([text for some in parts for _, text in some if text is not None]))
    for (number, example), some in zip(examples, parts, strict=True):
        turns = [_Turn(None if text is None else next(encoded), learned) for learned, text in some]
        dialogue = "turns" in example
        between = np.array(layout.end if dialogue else layout.separator, np.int32)
        left = dialogue or layout.cut_left
        add_turns = _add_two_streams if collector.two_streams else _add_one_stream
        collector.feature(number, lost=add_turns(collector, turns, between, left))


def _parts(example, number, training):
    """The texts of an example, as a list of (whether it is learned, text); the last one is learned."""
    if "turns" not in example:
        return [(False, example["inputs"]), (True, value_of(example, number, "targets", training))]
    turns = [(role == LEARNED, text) for role, text in example["turns"]]
    while turns and not turns[-1][0]:
        turns.pop()  # nothing is learned of what comes after the last answer
    if not turns:
        raise DataError(f"{name(example, number)} has no turn of {LEARNED!r}, so that there is nothing to learn")
    if training and any(text is None for _, text in turns):
        raise DataError(f"{name(example, number)} has a turn without text: remove the example, or fill it in")
    return turns


def _add_two_streams(collector, turns, between, left):
    """Adds an example for an encoder-decoder; returns how many tokens of the response found no room."""
    layout, room = collector.layout, collector.room(1)
    target_room = layout.target_length - len(layout.end)
    if target_room < 1:
        raise ConfigError(
            f"targets of {layout.target_length} tokens have no room for an answer and its end: raise data.target_length"
        )
    *prompt, response = turns
    cut = 0
    while len(prompt) > 1 and _size(prompt, between) > room:
        cut += len(prompt[0])
        prompt = prompt[1:]
    text = _joined(prompt, between)
    over = max(len(text) - room, 0)
    collector.text(text[over:] if left else text[:room], cut=cut + over)
    collector.targets(None if response.ids is None else response.ids[:target_room])
    return max(len(response) - target_room, 0)


def _add_one_stream(collector, turns, between, left):
    """Adds an example for a decoder; returns how many tokens of the last response found no room."""
    room, cut, last = collector.room(1), 0, turns[-1]
    if collector.layout.target_length and last.ids is not None:
        turns = [*turns[:-1], _Turn(last.ids[: collector.layout.target_length - len(collector.layout.end)], True)]
    while len(turns) > 2 and _size(turns, between) > room:
        cut += len(turns[0])
        # What the next turn answers has gone: it is read, and not learned.
        turns = [_Turn(turns[1].ids, False), *turns[2:]]
    if _size(turns, between) > room:
        *prompt, response = turns
        text, both = _joined(prompt, between), collector.room(2, between) if prompt else room
        size = min(len(response), both - min(len(text), 1))  # a token of the prompt stays
        over = len(text) - (both - size)
        cut += over
        text = _Turn(text[over:] if left else text[: len(text) - over], False)
        turns = [text] * len(prompt) + [_Turn(None if response.ids is None else response.ids[:size], True)]
    _write(collector, turns, between, cut)
    return len(last) - len(turns[-1])


def _write(collector, turns, between, cut):
    """Writes turns as one text, and which of its tokens are learned."""
    answered = turns[-1].ids is not None
    size, (start,) = collector.text(_joined(turns, between), cut=cut, ended=answered)
    scored, prefix = np.zeros(size, np.uint8), None
    for turn in turns:
        end = start + len(turn) + len(between)
        if turn.learned and prefix is None:
            prefix = start
        if turn.learned and turn.ids is not None:
            scored[start:end] = 1
        start = end
    if answered:
        scored[start - len(between) :] = 1  # the end of the text
    if collector.layout.loss_on_inputs:
        scored[:] = 1
    scored[:1] = 0  # nothing stands before it to predict it from
    collector.per_token("scored", scored)
    collector.prefix(prefix)


def _size(turns, between):
    return sum(map(len, turns)) + max(len(turns) - 1, 0) * len(between)


def _joined(turns, between):
    """The tokens of turns with others between them, int32."""
    pieces = [np.zeros(0, np.int32)]
    for number, turn in enumerate(turns):
        pieces += ([between] if number else []) + ([] if turn.ids is None else [turn.ids])
    return np.concatenate(pieces)
