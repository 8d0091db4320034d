"""A model as EleutherAI's lm-evaluation-harness asks it (Gao et al. 2021; lm-eval 0.4), which must be installed."""

import collections
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from cloze import decoding
from cloze.decoding import row_scoring
from cloze.decoding.row_scoring import Row
from cloze.tasks.progress import Progress

MAX_TOKENS = 256  # of an answer, where a task does not say


class Adapter(LM):
    """Answers requests of lm-eval. Tokens are cut and counted as its `hf` backend does it.

    Args:
        writer: tasks.predict.LanguageModel.
        report: called with messages.
    """

    def __init__(self, writer: Any, report: Callable[[str], None] = print):
        super().__init__()
        self._writer, self._report, self._layout = writer, report, writer.layout
        self._prefix = [(self._layout.start or self._layout.end)[-1]]  # stands before what has nothing before it

    @property
    def tokenizer_name(self) -> str:
        """What tells tokenizers apart."""
        return self._writer.tokenizer.hash

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability in nats of a continuation, whether it is what would be written greedily) of each request."""
        pairs = [self._pair(*request.args) for request in requests]
        scored = self._score([self._row(context, target) for context, target in pairs], "continuations")
        return [(float(a), bool(b)) for a, b in zip(*scored, strict=True)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each whole text, of windows that do not overlap but for one token."""
        rows, owners = [], []
        for number, request in enumerate(requests):
            ids = self._writer.tokenizer.encode(request.args[0]).tolist()
            if self._writer.two_streams and ids:  # the end of a text is scored, as the `hf` backend does
                ids += self._layout.end
            windows = get_rolling_token_windows(ids, self._prefix[0], self._layout.length, 1)
            for context, target in map(make_disjoint_window, windows):
                rows.append(self._row(context, target))
                owners.append(number)
        scored = self._score(rows, "windows")
        return np.bincount(owners, scored.log_probs, len(requests)).tolist() if rows else [0.0] * len(requests)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What is written behind each context, before one of its `until` texts; requests of like length together."""
        groups = collections.defaultdict(list)
        for number, request in enumerate(requests):
            groups[json.dumps(request.args[1], sort_keys=True)].append(number)
        found, done = [""] * len(requests), Progress(self._report, "texts", len(requests))
        for said, numbers in groups.items():
            options = self._options(json.loads(said))
            room = self._writer.room(options.max_tokens)
            prompts = {n: self._prompt(requests[n].args[0])[-room:] for n in numbers}
            order = sorted(numbers, key=lambda n: -len(prompts[n]))
            texts = self._writer.answers([prompts[n] for n in order], options)
            for number, (answer, *_) in zip(order, texts, strict=True):
                text = self._writer.tokenizer.decode(answer.ids)
                for stop in options.stop:
                    text = text.partition(stop)[0]
                found[number] = text
                done(1)
        return found

    def _options(self, said):
        """decoding.DecodingOptions of `generation_kwargs`."""
        until = said.get("until") or []
        until = [until] if isinstance(until, str) else until
        most, room = int(said.get("max_gen_toks", MAX_TOKENS)), max(1, self._layout.length // 2)
        if most > room:
            self._report(f"answers have {room} tokens at most, where {most} are asked for: rows have no room for more")
        draws = said.get("do_sample", False) and said.get("temperature", 1.0) > 0
        drawn = {name: said[name] for name in ("temperature", "top_k", "top_p") if draws and name in said}
        return decoding.DecodingOptions(
            max_tokens=min(most, room), stop=tuple(text for text in until if text),
            **(drawn or {"temperature": 1.0 if draws else 0}),
        )  # fmt: skip

    def _prompt(self, context):
        ids = self._writer.tokenizer.encode(context)
        end = self._layout.end if self._writer.two_streams else ()
        ids = np.array([*self._layout.start, *ids, *end], np.int32)
        return ids if len(ids) else np.array(self._prefix, np.int32)

    def _pair(self, context, continuation):
        """(ids before, ids of the continuation); white space at the end of a context belongs to what follows."""
        encode = self._writer.tokenizer.encode
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        if not stripped:
            return self._prefix, encode(continuation).tolist()
        if self._writer.two_streams:
            return self._prompt(stripped).tolist(), encode(continuation).tolist()
        whole, before = encode(stripped + continuation).tolist(), encode(stripped).tolist()
        return [*self._layout.start, *before], whole[len(before) :]

    def _row(self, context, target):
        """The Row that asks for the target; what finds no room in front is cut."""
        length, start = self._layout.length, (self._layout.decoder_start, *self._layout.target_start)
        if self._writer.two_streams:
            read = np.array(context[-length:], np.int32)
            target = np.array(target[: length - len(start) + 1], np.int32)
            written = np.array([*start, *target[:-1]], np.int32)
            return Row(read, len(start) - 1 + np.arange(len(target)), target, written)
        ids = np.array([*context, *target][-(length + 1) :], np.int32)
        count = min(len(target), len(ids) - 1)
        return Row(ids[:-1], len(ids) - 1 - count + np.arange(count), ids[len(ids) - count :])

    def _score(self, rows, what):
        return row_scoring.score(
            self._writer.model, self._writer.params, rows, length=self._layout.length,
            batch_size=self._writer.batch_size, pad_id=self._writer.pad, devices=self._writer.devices,
            done=Progress(self._report, what, len(rows)),
        )  # fmt: skip
