"""What generate.py asks of a run: how it writes, prompts as its model reads them, dialogues."""

import json
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from cloze import decoding, options
from cloze.data import chat
from cloze.decoding.options import DRAWING, SEARCHING
from cloze.errors import ConfigError, DataError
from cloze.interop import keys
from cloze.interop.tokenizers import GENERATION_FILE
from cloze.storage import parse_json

_STOPPING = {False: "heuristic", True: "full", "never": "exact"}
_SAME = {  # of generation_config.json, and what we call it
    "num_beams": "beams",
    "forced_bos_token_id": "forced_bos",
    "forced_eos_token_id": "forced_eos",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    **{name: name for name in (*DRAWING, "repetition_penalty", "no_repeat_ngram_size", "length_penalty")},
}
_COUNT, _NUMBER, _ID = keys.key(int | None, least=0), keys.key(float | None), keys.key(int | list[int] | None)
_KEYS = {
    "do_sample": keys.key(bool | None),
    "early_stopping": keys.key(bool | str | None),
    **dict.fromkeys(("num_beams", "top_k", "no_repeat_ngram_size"), _COUNT),
    **dict.fromkeys(("max_new_tokens", "min_new_tokens", "max_length", "min_length"), _COUNT),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty", "length_penalty"), _NUMBER),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id"), _ID),
    "bad_words_ids": keys.key(list[list[int]] | None),
    "suppress_tokens": keys.key(list[int] | None),
}
TRANSFORMERS_TOP_K = 50  # where a model is to draw and the file does not say among how many


def stated(writer: Any) -> dict[str, Any]:
    """What the generation_config.json that a model came with says of how it writes, as options.

    Args:
        writer: tasks.predict.LanguageModel.

    Returns:
        {name of an option of DecodingOptions: value}; {} where there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    text = writer.tokenizer.carried.get(GENERATION_FILE)
    if text is None:
        return {}
    try:
        said = parse_json(text.encode())
    except ValueError as error:
        raise DataError(f"{GENERATION_FILE} of this run is damaged ({error}): convert the model again") from None
    if not isinstance(said, dict):
        raise DataError(f"{GENERATION_FILE} of this run is no JSON object: convert the model again")
    said = {name: v for name, v in keys.checked(said, _KEYS, GENERATION_FILE, DataError).items() if v is not None}
    found = {ours: said[theirs] for theirs, ours in _SAME.items() if isinstance(said.get(theirs), (int, float))}
    if said.get("do_sample"):
        found = {"temperature": 1.0, "top_k": TRANSFORMERS_TOP_K} | _without(found, SEARCHING)
    else:
        found = _without(found, DRAWING)
    if found.get("beams", 1) == 1:
        found = _without(found, SEARCHING)
    elif "early_stopping" in said:
        found["early_stopping"] = _STOPPING.get(said["early_stopping"], "heuristic")
    if writer.two_streams:  # lengths of the whole text, with what the decoder begins with
        begun = 1 + len(writer.layout.target_start)
        for theirs, ours in (("max_length", "max_tokens"), ("min_length", "min_tokens")):
            if said.get(theirs, 0) > begun:
                found.setdefault(ours, said[theirs] - begun)
    if "max_tokens" in found:  # of a model that reads much more than it was given rows for
        found["max_tokens"] = max(1, min(found["max_tokens"], writer.layout.length // 2))
        found["min_tokens"] = min(found.get("min_tokens", 0), found["max_tokens"])
    refused = [
        *said.get("suppress_tokens", []),
        *(i for some in said.get("bad_words_ids", []) for i in some[:1] if len(some) == 1),
    ]
    if refused:
        found["suppressed"] = tuple(refused)
    defaults = options.defaults(decoding.DecodingOptions)
    return {name: value for name, value in found.items() if value != defaults[name]}


def decoding_options(given: Mapping[str, Any], said: Mapping[str, Any], vocab_size: int) -> decoding.DecodingOptions:
    """The options of a command: those that it gives, before those that the model came with, before ours.

    Who asks for beams does not draw as the model was told to, and the other way round.

    Args:
        given: {name: value} of the command line.
        said: of `stated`.
        vocab_size: V of the model.

    Raises:
        ConfigError: a value out of range, or options that do not go together.
    """
    if given.get("beams", 1) > 1 or given.get("temperature") == 0:
        said = _without(said, DRAWING)
    if "beams" in given or any(name in given for name in DRAWING):
        said = _without(said, SEARCHING)
    values = {**options.defaults(decoding.DecodingOptions), **said, **given}
    options.check(decoding.DecodingOptions, values, "--")
    made = decoding.DecodingOptions(**values)
    made.check(vocab_size)
    return made


def _without(values, names):
    return {name: value for name, value in values.items() if name not in names}


def prompts_of(writer: Any, texts: Iterable[str], max_tokens: int) -> list[np.ndarray]:
    """The ids of each prompt, as the model reads it.

    What an encoder-decoder is to fill in, its sentinels or its mask, stands for itself where a prompt spells it.

    Args:
        writer: tasks.predict.LanguageModel.
        texts: prompts.
        max_tokens: tokens that there must be room for.

    Raises:
        ConfigError: the tokenizer leaves nothing of a prompt, or it is longer than the model has room for.
    """
    texts, room = list(texts), writer.room(max_tokens)
    for text in texts:
        if not writer.begins(text):
            raise ConfigError(f"--prompt={_short(text)}: the tokenizer leaves nothing of it; write text to go on from")
    found, cut = writer.encoded([{"inputs": text, "targets": None} for text in texts], max_tokens)
    holes = marks(writer)
    for number, text in enumerate(texts):
        if any(writer.tokenizer.piece(i) in text for i in holes):
            found[number] = writer.around(text, holes)
            cut[number] = max(len(found[number]) - room, 0)
        if cut[number]:
            raise ConfigError(
                f"--prompt={_short(text)} has {room + cut[number]} tokens, and beside --max_tokens={max_tokens} the "
                f"model has room for {room} (data.sequence_length={writer.layout.length}): shorten it, or lower "
                "--max_tokens"
            )
    return found


def marks(writer: Any) -> list[int]:
    """Ids that stand for missing text: the sentinels and the mask of an encoder-decoder."""
    tables = writer.tokenizer.tables
    return [*tables.sentinels.tolist(), *([] if tables.mask is None else [tables.mask])] if writer.two_streams else []


def spans(writer: Any, ids: np.ndarray) -> dict[int, str]:
    """{number of a sentinel: text} of what T5 writes: each sentinel, and behind it what is missing in its place."""
    numbers = {int(i): n for n, i in enumerate(writer.tokenizer.tables.sentinels)}
    found, now = {}, None
    for i in map(int, ids):
        if i in numbers:
            now = found.setdefault(numbers[i], [])
        elif now is not None:
            now.append(i)
    return {number: writer.tokenizer.decode(some).strip() for number, some in found.items()}


def with_spans(writer: Any, text: str, filled: Mapping[int, str]) -> str:
    """A prompt with spans in the places of its sentinels; those that nothing was written for stay."""
    for number, i in enumerate(writer.tokenizer.tables.sentinels.tolist()):
        if number in filled:
            text = text.replace(writer.tokenizer.piece(i), filled[number])
    return re.sub(r"\s+", " ", text) if filled else text


def described(writer: Any, prompt: str, answer: Any) -> dict[str, Any]:
    """What --output says of a text: "text", "tokens", "ended", of T5 "spans", of beams "score" (see predict.Answer)."""
    holes = writer.tokenizer.tables.sentinels.tolist() if writer.two_streams else []
    asked = any(writer.tokenizer.piece(i) in prompt for i in holes)
    filled = spans(writer, answer.ids) if asked else {}
    found = {"text": with_spans(writer, prompt, filled) if filled else answer.text}
    found |= {"tokens": len(answer.ids), "ended": answer.ended}
    found |= {"spans": [filled[n] for n in sorted(filled)]} if filled else {}
    return found | ({} if answer.score is None else {"score": answer.score})


class Progress:
    """How many prompts are answered, and how fast."""

    def __init__(self):
        self._began = self._spoken = time.perf_counter()
        self._prompts = self._tokens = 0

    def add(self, tokens: int) -> None:
        """Counts a prompt whose texts have so many tokens."""
        self._prompts, self._tokens = self._prompts + 1, self._tokens + tokens

    def say(self, of: int, last: bool = False) -> None:
        """Prints a line, every ten seconds or as the last, of so many prompts in all."""
        now = time.perf_counter()
        if last or now - self._spoken > 10:
            self._spoken, rate = now, self._tokens / (now - self._began)
            print(f"{self._prompts:,}/{of:,} prompts  {self._tokens:,} tokens  {rate:,.0f} tokens/s", flush=True)


def read_prompts(path: str) -> list[dict[str, Any]]:
    """[{"prompt": text, ...}] of a file: JSON objects, one a line, in a .jsonl file, else a prompt a line.

    Raises:
        DataError: no such file, no prompt in it, or a line that is no prompt.
    """
    try:
        lines = pathlib.Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"cannot read --prompts={path}: {reason}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise DataError(f"--prompts={path} holds no prompt: write one a line")
    if not path.endswith((".jsonl", ".json")):
        return [{"prompt": line} for _, line in numbered]
    return [_prompt(path, number, line) for number, line in numbered]


def _prompt(path, number, line):
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(f'--prompts={path}, line {number}: {error}; expected a JSON object with "prompt"') from None
    if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
        raise DataError(f'--prompts={path}, line {number}: expected a JSON object with a text "prompt"')
    return found


def _short(text):
    return repr(text if len(text) < 80 else text[:77] + "...")


class Dialogue:
    """Turns of a user and a model that was finetuned on turns.

    Args:
        writer: tasks.predict.LanguageModel.
        options: decoding.DecodingOptions.
        system: what the model is told first; "": nothing.
        responds: whether the run learned turns in Cloze (objective.name=responses), which has a form of its own for
            them, whatever template its tokenizer came with.

    Raises:
        ConfigError: the model has neither a chat template nor learned turns.
    """

    def __init__(self, writer: Any, options: decoding.DecodingOptions, system: str = "", responds: bool = False):
        self._writer, self._options = writer, options
        self._system = [{"role": "system", "content": system}] if system else []
        self._turns: list[dict[str, str]] = []
        self._template = None
        if not responds:
            if not chat.has_template(writer.tokenizer):
                raise ConfigError(
                    "--chat needs a model that was finetuned on turns: this one has no chat template, nor was it "
                    "trained with objective.name=responses (configs/finetune/respond.py); leave --chat out"
                )
            self._template = chat.ChatTemplate(writer.tokenizer)

    def ask(self, text: str, show: Callable[[str], None] | None = None) -> str:
        """The answer to what a user says next; the oldest turns go where there is no room for all.

        Args:
            text: of the user.
            show: called with pieces of the answer as they are written; None: nobody looks on.

        Raises:
            ConfigError: the turn alone is too long, or the template refuses it. The dialogue stays as it was.
        """
        turns = [*self._turns, {"role": "user", "content": text}]
        ids = self._encode(turns)
        most = self._options.max_tokens
        room = self._writer.room(most)
        while len(ids) > room:
            turns = turns[2:]
            if not turns:
                raise ConfigError(
                    f"this turn has {len(ids)} tokens, and beside --max_tokens={most} the model has room for {room}: "
                    "shorten it, or lower --max_tokens"
                )
            ids = self._encode(turns)
        (((answer, *_),)) = self._writer.answers([ids], self._options, show)
        self._turns = [*turns, {"role": "assistant", "content": answer.text}]
        return answer.text

    def _encode(self, turns):
        """The ids of turns, as the template or else the run's own examples have them."""
        messages = [*self._system, *turns]
        if self._template is not None:
            return self._template.encode(messages)
        said = tuple((one["role"], one["content"]) for one in messages)
        (ids,), (cut,) = self._writer.encoded([{"turns": (*said, ("assistant", ""))}], self._options.max_tokens)
        return np.concatenate([ids, np.zeros(cut, np.int32)])  # what is cut counts as too long
