"""Chat templates: how the turns of a dialogue become one text, as the tokenizer of a model says.

A template is a program in Jinja2 that came with a model. It runs in Jinja's sandbox, which lets it neither change what
it is given nor reach Python's insides, as transformers runs it (`apply_chat_template`).
"""

import datetime
import functools
import json
from collections.abc import Mapping, Sequence

import jinja2
import numpy as np
from jinja2 import ext, sandbox

from cloze.data.tokenizers import ROLES, Tokenizer
from cloze.errors import ConfigError, DataError

_FILE, _CONFIG, _DEFAULT = "chat_template.jinja", "tokenizer_config.json", "default"


class _Generation(ext.Extension):
    """{% generation %}, which marks what an assistant writes, and changes nothing of the text."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: data.tokenizers.Tokenizer, which `has_template`.

    Raises:
        DataError: the template is not one of Jinja2.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        try:
            self._template = _environment().from_string(_source(tokenizer))
        except jinja2.TemplateError as error:
            raise DataError(f"the tokenizer's chat template is damaged ({error}): copy {_FILE} again") from None
        tables = tokenizer.tables
        ids = {role: getattr(tables, role) for role in ROLES}
        self._roles = {f"{role}_token": tokenizer.piece(i) for role, i in ids.items() if i is not None}
        self._marks = [i for i in np.flatnonzero(tables.special).tolist() if i != tables.unk and tokenizer.has_piece[i]]

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of messages, {"role": ..., "content": ...}, up to where the assistant answers.

        Raises:
            ConfigError: the template refuses the messages.
        """
        given = [dict(message) for message in messages]
        try:
            return self._template.render(
                messages=given, tools=None, documents=None, add_generation_prompt=True, **self._roles
            )
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"the model's chat template refuses these messages: {error}") from None

    def encode(self, messages: Sequence[Mapping[str, str]]) -> np.ndarray:
        """The ids of what `render` gives, int32 [n], special tokens where the template writes them.

        Raises:
            ConfigError: the template refuses the messages, or one spells a special token, which would end its turn.
        """
        for message in messages:
            pieces = map(self._tokenizer.piece, self._marks)
            if spelled := [piece for piece in pieces if piece in message["content"]]:
                raise ConfigError(
                    f"the message spells {spelled[0]!r}, a special token of the model: write it otherwise"
                )
        return self._tokenizer.encode_around(self.render(messages), self._marks)


def has_template(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer came with a chat template."""
    return _source(tokenizer) is not None


def _source(tokenizer):
    """The text of the template: a file of its own, or in the tokenizer's configuration, alone or by name."""
    if _FILE in tokenizer.carried:
        return tokenizer.carried[_FILE]
    found = json.loads(tokenizer.carried.get(_CONFIG, "{}")).get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get(_DEFAULT)
    return found if isinstance(found, str) else None


@functools.cache
def _environment():
    made = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols]
    )
    made.filters["tojson"] = _to_json  # Jinja's own is for HTML, and escapes what stands for itself here
    made.globals["raise_exception"] = _refuse
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return made


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message):
    raise jinja2.TemplateError(message)
