"""Options: declared once, by what reads them, as fields of a frozen dataclass; everything else is made from these.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Schedule:
        warmup_steps: options.Duration = options.option(10_000, "linear from 0 until here")
        final_fraction: float = options.option(0.0, "share of the peak at the end", least=0, most=1)

From such a class come the section of a configuration (`section`), the checks of its values (`check`, in one place for
all options), and the text of `--describe`. Fields that are not declared by `option` are no options: what a class is
also given in Python.
"""

import contextlib
import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any

import ml_collections
from ml_collections import config_dict

from cloze.errors import ConfigError
from cloze.value_types import Duration, Limits, Name, Path, Pattern, Place, Span, expected, limits_of, short  # noqa: F401

REQUIRED = dataclasses.MISSING  # as a default: an option that must be given


class _Given(tuple):
    """As the values that an option must have: any that is not empty."""

    def __contains__(self, value):
        return bool(value)


GIVEN = _Given(["..."])

# Whether an option of a run may have another value at a later start.
NEVER = "never"  # it decides what is learned: --allow_changes=KEY says that it shall
BY_HAND = "by hand"  # as NEVER; in config.json it may be edited: where things are now, and how other verbs compute
FREELY = "freely"  # the run's length, how it reports and where it runs


@dataclasses.dataclass(frozen=True)
class Declared:
    """What is declared of an option.

    Attributes:
        comment: what it means, in one thought.
        choices: the values that it may have; empty: any.
        limits: the range of a number, or of the numbers in a tuple.
        needs: {another option of the section: values of it, or `GIVEN`}: where this one is not at its default, that one
            must have one of these values, or any but an empty one. So what nothing reads is refused.
        changes: NEVER, BY_HAND or FREELY: whether a run may go on with another value.
    """

    comment: str
    choices: tuple = ()
    limits: Limits = Limits()
    needs: dict[str, tuple] = dataclasses.field(default_factory=dict)
    changes: str = NEVER


def option(
    default: Any, comment: str, choices: tuple = (), needs: dict | None = None, changes: str = NEVER, **limits: float
) -> Any:
    """A field of a dataclass that is an option: see `Declared`, and for `limits` value_types.Limits."""
    return dataclasses.field(
        default=default, metadata={"option": Declared(comment, choices, Limits(**limits), needs or {}, changes)}
    )


def declared(cls: type) -> dict[str, dataclasses.Field]:
    """{name: field} of the options of a class, in the order in which they are declared."""
    return {field.name: field for field in dataclasses.fields(cls) if "option" in field.metadata}


def defaults(cls: type) -> dict[str, Any]:
    """{name: default} of the options of a class."""
    return {name: field.default for name, field in declared(cls).items()}


def kind(cls: type, name: str) -> type:
    """The type that a configuration has for an option: `object` for one of several types, such as a duration."""
    hint = _hints(cls)[name]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        hint = members[0] if len(members) == 1 else object
    return typing.get_origin(hint) or getattr(hint, "__supertype__", hint)


def item_kind(cls: type, name: str) -> type:
    """The type of the items of an option that is a tuple."""
    return typing.get_args(_hints(cls)[name])[0]


@functools.cache
def _hints(cls):
    """{name: type} of the fields of a class."""
    return typing.get_type_hints(cls)


def section(cls: type, **values: Any) -> ml_collections.ConfigDict:
    """The options of a class as a section of a configuration, at their defaults but for `values`."""
    made = ml_collections.ConfigDict()
    _fill(made, cls)
    made.lock()
    made.update(values)
    return made


def union(name: str, classes: Iterable[type]) -> type:
    """A frozen dataclass with the options of several classes; what several declare has all their comments.

    Raises:
        ValueError: an option is declared with different types, defaults or ranges.
    """
    fields = {}
    for cls in classes:
        hints = _hints(cls)
        for key, field in declared(cls).items():
            said = field.metadata["option"]
            if key in fields:
                hint, default, before = fields[key]
                same = dataclasses.replace(said, comment=before.comment) == before
                if (hint, default) != (hints[key], field.default) or not same:
                    raise ValueError(f"{key} is declared in two ways: {before} and {said} of {cls}")
                comments = dict.fromkeys((*before.comment.split("; "), said.comment))
                said = dataclasses.replace(said, comment="; ".join(comments))
            fields[key] = (hints[key], field.default, said)
    made = [
        (key, hint, dataclasses.field(default=default, metadata={"option": said}))
        for key, (hint, default, said) in fields.items()
    ]
    return dataclasses.make_dataclass(name, made, frozen=True, kw_only=True)


def overrides(cls: type, **values: Any) -> ml_collections.ConfigDict:
    """The options of a class as a section in which all are None, "not overridden", but for `values`."""
    made = ml_collections.ConfigDict({name: config_dict.placeholder(kind(cls, name)) for name in declared(cls)})
    made.update(values)
    return made


def _fill(made, cls):
    for name, field in declared(cls).items():
        made[name] = config_dict.FieldReference(field.default, field_type=kind(cls, name))


class Choice(ml_collections.ConfigDict):
    """A section that has the options of one of several classes: which one is the value of one of its keys.

    Setting that key exchanges the options: those that the new class also has keep their values, the others are at
    their defaults.

    Args:
        key: the key that chooses, "name" or "method".
        where: what the section is called, for messages.
        classes: {value of the key: class}.
        chosen: its first value.
        **values: of options.
    """

    _lenient = False  # while flags are parsed, options of classes that are still to be chosen have a type and a value

    def __init__(self, key: str, where: str, classes: dict[str, type], chosen: str, **values: Any):
        super().__init__()
        for name, value in (("_key", key), ("_where", where), ("_classes", classes)):
            object.__setattr__(self, name, value)
        self._choose(chosen)
        self.update(values)

    def _choose(self, chosen):
        if chosen not in self._classes:
            listed = ", ".join(self._classes)
            raise ConfigError(
                f"unknown {self._where}.{self._key}={chosen!r}{suggest(chosen, self._classes) or '.'} Known: {listed}"
            )
        cls, old = self._classes[chosen], dict(super().items())
        with self.unlocked():
            for name in old:
                super().__delitem__(name)
            super().__setitem__(self._key, chosen)
            _fill(self, cls)
            for name in declared(cls):
                if name in old:
                    super().__setitem__(name, old[name])
        self.lock()

    def __reduce__(self):
        values = {name: value for name, value in self.items() if name != self._key}
        return _choice, (self._key, self._where, self._classes, self[self._key], values)

    def copy_and_resolve_references(self, visit_map=None):
        """A copy, as of any ConfigDict."""
        del visit_map  # sections hold no sections
        rebuild, arguments = self.__reduce__()
        return rebuild(*arguments)

    def __deepcopy__(self, memo):
        return self.copy_and_resolve_references()

    def update(self, *other, **values):
        """As of any ConfigDict, the key before the options that it brings, in whatever order they are given."""
        given = {**dict(*other), **values}
        if self._key in given:
            self[self._key] = given.pop(self._key)
        super().update(given)

    @property
    def key(self) -> str:
        """The key whose value chooses the class."""
        return self._key

    @property
    def chosen(self) -> type:
        """The class whose options these are."""
        return self._classes[self[self._key]]

    def __setitem__(self, key, value):
        if key == self.__dict__.get("_key") and key in self:
            self._choose(value)
        elif key in self or not self.is_locked:
            super().__setitem__(key, value)
        else:
            raise ConfigError(self._unknown(key))

    def __getitem__(self, key):
        if self._lenient and key not in self:  # the set value is refused where no class has it
            return next((defaults(cls)[key] for cls in self._owners(key)), None)
        return super().__getitem__(key)

    def get_type(self, key):
        """As of any ConfigDict."""
        if self._lenient and key not in self:
            return next((kind(cls, key) for cls in self._owners(key)), object)
        return super().get_type(key)

    def _owners(self, key):
        return [cls for cls in self.__dict__.get("_classes", {}).values() if key in declared(cls)]

    def _unknown(self, key):
        here = f"{self._where}.{self._key}={self[self._key]}"
        owners = [name for name, cls in self._classes.items() if key in declared(cls)]
        if owners:
            return f"{self._where}.{key} is an option of {', '.join(owners)}, and {here} does not read it: leave it out"
        return f"{self._where}.{key} is not an option of {here}{suggest(key, self.keys()) or '.'} Known: " + ", ".join(
            sorted(self.keys())
        )


def _choice(key, where, classes, chosen, values):
    return Choice(key, where, classes, chosen, **values)


@contextlib.contextmanager
def choosing():
    """While this holds, flags may name options of classes that other flags choose."""
    Choice._lenient = True
    try:
        yield
    finally:
        Choice._lenient = False


def read(cls: type, values: Any) -> dict[str, Any]:
    """{name: value} of the options of a class, out of a section: arguments for its constructor."""
    return {name: values[name] for name in declared(cls)}


def check(cls: type, values: Any, where: str) -> None:
    """Refuses values outside what is declared.

    Args:
        cls: the class that declares the options.
        values: a section or another mapping with all of them.
        where: what the section is called; "": the options are at the top; "--": they are flags.

    Raises:
        ConfigError: names the option, its value, and what it may be.
    """
    for name, field in declared(cls).items():
        _check_one(cls, name, field, values, f"{where}.{name}" if where.strip("-") else f"{where}{name}")


def _check_one(cls, name, field, values, called):
    value, said = values[name], field.metadata["option"]
    if value == field.default and type(value) is type(field.default):
        return
    check_value(value, _hints(cls)[name], said, called)
    for other, allowed in said.needs.items():
        if other in declared(cls) and values[other] not in allowed:
            where = called.rpartition(name)[0]
            wanted = " or ".join(f"{where}{other}={one}" for one in allowed)
            raise ConfigError(
                f"{called}={short(value)} needs {wanted}, not {values[other]!r}; or set it to {field.default!r}"
            )


def check_value(value: Any, hint: Any, said: Declared, called: str, error: type[Exception] = ConfigError) -> None:
    """Refuses a value that is not of its type, not one of its choices or not in its range.

    Args:
        value: any.
        hint: its type, see value_types.expected.
        said: what is declared of it.
        called: its name, for messages.
        error: what is raised.
    """
    if said.choices and value not in said.choices:
        listed = ", ".join(map(str, said.choices))
        raise error(f"{called}={short(value)} is not one of {listed}{suggest(value, said.choices)}")
    limits = limits_of(hint, said.limits)
    if words := expected(value, hint):
        raise error(f"{called}={short(value)} must be {words}" + (f", {limits}" if str(limits) else ""))
    if not limits.hold(value):
        raise error(f"{called}={short(value)} must be {limits}")


def describe(cls: type, values: Any, where: str) -> list[str]:
    """Lines that say of each option its value, its default where it differs, and its comment."""
    lines = []
    for name, field in declared(cls).items():
        value, said = values[name], field.metadata["option"]
        unchanged = field.default is REQUIRED or value == field.default
        changed = "" if unchanged else f"  (default {field.default!r})"
        limits = ", ".join(map(str, said.choices)) if said.choices else str(said.limits)
        lines.append(f"{where}.{name} = {value!r}{changed}" if where else f"{name} = {value!r}{changed}")
        told = "; ".join(filter(None, [limits, "may change between starts" if said.changes == FREELY else ""]))
        lines.append(f"    {said.comment}" + (f" [{told}]" if told else ""))
    return lines


def suggest(word: Any, known: Any) -> str:
    """'; did you mean X?' when a known word is close to `word`, else ''."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
