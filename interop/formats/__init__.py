"""One file a model_type: its settings, names and layouts as data. A file that is here is known."""

import functools
import importlib
import pkgutil

from cloze.errors import ConfigError
from cloze.options import suggest


@functools.cache
def _known():
    """{model_type: Format}."""
    found = [importlib.import_module(f"{__name__}.{module.name}").FORMAT for module in pkgutil.iter_modules(__path__)]
    return {one.model_type: one for one in sorted(found, key=lambda one: one.model_type)}


def model_types():
    """Names of all known model types, sorted."""
    return list(_known())


def get(model_type):
    """The Format of a model_type; ConfigError if it is not known."""
    if model_type not in _known():
        hint = suggest(model_type, _known()) or "."
        raise ConfigError(f"config.json: unknown model_type={model_type!r}{hint} Known: {', '.join(_known())}")
    return _known()[model_type]


def of_family(family):
    """The Formats that can hold models of a family; those that read files as this family come first."""
    found = [one for one in _known().values() if family in one.families]
    return sorted(found, key=lambda one: one.families.index(family))
