"""Values from outside, of configurations and of JSON files, held to the types that annotations state.

Beside Python's own types there are texts of a certain form: `Name`, `Pattern`, `ShortPattern`, `Path`, `Place`, `Span`
and `Duration`. A new form is a NewType of `str` with a line in `_FORMS`.
"""

import dataclasses
import math
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Callable
from typing import Any

Name = typing.NewType("Name", str)  # a text of one line, or an empty one
Pattern = typing.NewType("Pattern", str)  # a regular expression
ShortPattern = typing.NewType("ShortPattern", str)  # one of a stranger, which must not search for ever
Path = typing.NewType("Path", str)  # of a file or a folder, or a pattern of paths, of a mounted file system
Place = typing.NewType("Place", str)  # the path of a folder, or an address such as gs://bucket/folder
Span = typing.NewType("Span", str)  # a first and a last number, "100:105", or an empty text
_Length = typing.NewType("_Length", str)
Duration = float | _Length  # a number of steps, or a string with a unit: "2 epochs", "1e9 tokens", "5000 examples"

# What an address is answered with: renaming a folder and locking a file, which whole checkpoints rest on, need a mount.
MOUNT = "an address such as gs://bucket/folder is none: mount the bucket (gcsfuse, mountpoint-s3) and name that folder"
MOST = 10_000_000  # of what is counted: more is a mistake, on which a machine would be busy for hours
DURATION = re.compile(r"\s*([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*(steps?|epochs?|tokens|examples)?\s*")


def _is_text(value):
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_path(value):
    return _is_text(value) and "\0" not in value


def _is_pattern(value):
    try:
        return _is_text(value) and re.compile(value) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _is_short_pattern(value):
    """Whether a search takes at most the third power of a text's length: three repeats, and no group repeated.

    The square brackets of a class are not told apart, so that a few patterns that would do are refused.
    """
    if not _is_pattern(value):
        return False
    plain = re.sub(r"\\.", "", value)
    return len(re.findall(r"[*+{]", plain)) <= 3 and re.search(r"\)[*+{]", plain) is None


_FORMS: dict[Any, tuple[str, Callable[[Any], bool]]] = {  # type: (what a value of it is, whether one is)
    Name: ("a text of one line", lambda value: _is_text(value) and (value == "" or value.isprintable())),
    Pattern: ("a regular expression", _is_pattern),
    ShortPattern: ("a regular expression of at most three repeats and no repeated group", _is_short_pattern),
    Path: (f"a path without the character 0; {MOUNT}", lambda value: _is_path(value) and "://" not in value),
    Place: ("a path or an address without the character 0", _is_path),
    Span: (
        'two whole numbers such as "100:105"',
        lambda value: isinstance(value, str) and re.fullmatch(r"([0-9]{1,9}:[0-9]{1,9})?", value) is not None,
    ),
    _Length: (
        'a duration, steps (1000) or "2 epochs", "1e9 tokens", "5000 examples"',
        lambda value: isinstance(value, str) and DURATION.fullmatch(value) is not None,
    ),
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """The range of a number, or of all in a list or an object: `least` to `most` closed, `above` to `below` open."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, value: Any) -> bool:
        """Whether a number, or every number of a list or an object at any depth, is in the range."""
        if isinstance(value, (list, tuple, dict)):
            return all(map(self.hold, value.values() if isinstance(value, dict) else value))
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return True
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        limits = {"at least": self.least, "more than": self.above, "at most": self.most, "less than": self.below}
        return " and ".join(f"{words} {limit}" for words, limit in limits.items() if limit is not None)


def expected(value: Any, hint: Any) -> str:
    """What a value of a type should be, in words: "a whole number"; "" where it is.

    Args:
        value: any.
        hint: a type as annotations write it. Lists and tuples count as each other, whole numbers as `float`, and
            `bool` as no number. A `float` is finite, a `str` has only whole characters.
    """
    origin, members = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any or hint is object:
        return ""
    if origin in (types.UnionType, typing.Union):
        words = [expected(value, member) for member in members]
        return "" if "" in words else " or ".join(words)
    if origin in (tuple, list):
        return "" if _fits_list(value, origin, members) else _words("a list", members)
    if origin is dict:
        fits = isinstance(value, dict) and _fits_list([*value.items()], list, (tuple[members],))
        return "" if fits else _words("an object", members[1:])
    words, fits = _FORMS[hint] if hint in _FORMS else _PLAIN[hint]
    return "" if fits(value) else words


def _fits_list(value, kind, members):
    if not isinstance(value, (list, tuple)) or not members:
        return isinstance(value, (list, tuple))
    if kind is list or members[-1] is Ellipsis:
        members = members[:1] * len(value)
    return len(members) == len(value) and not any(map(expected, value, members))


def _words(what, members):
    """What a list or an object of these types should be."""
    names = [expected(_NOTHING, member) for member in members if member not in (Ellipsis, Any)]
    if not names:
        return what
    if len(members) == 1 or Ellipsis in members:
        return f"{what}, each item {names[0]}"
    return f"{what} of {len(members)}: {', '.join(names)}"


def limits_of(hint: Any, declared: Limits) -> Limits:
    """The limits of a value of a type: those that are declared, and for a count that has no upper one, `MOST`."""
    counted = hint is int or set(typing.get_args(hint)) == {int, types.NoneType}
    bounded = declared.most is not None or declared.below is not None
    return dataclasses.replace(declared, most=MOST) if counted and not bounded else declared


_NOTHING = object()


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: _is_number(value) and isinstance(value, numbers.Integral)),
    float: ("a finite number", lambda value: _is_number(value) and math.isfinite(value)),
    str: ("a text", _is_text),
    types.NoneType: ("null", lambda value: value is None),
}

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxtuple, _SHORT.maxlist = 4, 300, 300, 20, 20
short = _SHORT.repr  # of a value for a message, which may be long or deep
