"""Things that are known by a name, each in a file of its own: a new one is a new file, and no list is edited.

OBJECTIVES = Registry("objective", __package__)      # in objectives/base.py

@OBJECTIVES.register("causal_lm")                    # in objectives/causal_lm.py
class CausalLM(Objective): ...
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloze import options
from cloze.errors import ConfigError


class Registry(Mapping):
    """{name: what a file of the package has registered under it}, in the order of the names.

    The files are imported when the registry is first read, not before.

    Args:
        what: what one of them is called in messages, the option that chooses among them: "objective.name".
        package: name of the package whose files register.
    """

    def __init__(self, what: str, package: str):
        self._what, self._package = what, package
        self._entries: dict[str, Any] = {}
        self._read = False

    def register(self, name: str) -> Callable[[Any], Any]:
        """A decorator: registers a class or function under a name, and gives it back."""

        def add(entry):
            if name in self._entries:
                raise ValueError(f"{self._what}={name} is registered twice: {self._entries[name]} and {entry}")
            self._entries[name] = entry
            return entry

        return add

    def _all(self):
        if not self._read:
            self._read = True
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._entries = dict(sorted(self._entries.items()))
        return self._entries

    def __getitem__(self, name: str) -> Any:
        """What is registered under a name.

        Raises:
            ConfigError: nothing is; names what is.
        """
        entries = self._all()
        if name not in entries:
            hint = options.suggest(name, entries) or "."
            raise ConfigError(f"unknown {self._what}={name!r}{hint} Known: {', '.join(entries)}")
        return entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
