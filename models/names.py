"""Parameters by name: the only handle on them.

A parameter's name is its path, "encoder/layers/attention/query/kernel". The parameters of a stack are stacked
along a leading axis; rules see one name per layer instead, "encoder/layers/3/attention/query/kernel", so that
one pattern language serves freezing, weight decay, learning rates, loading and adapters.
"""

import difflib
import re

import numpy as np
from flax import traverse_util

from cloze.errors import ConfigError


def flatten(tree):
    """{name: leaf} of a nested dict, in a fixed order."""
    return dict(sorted(traverse_util.flatten_dict(tree, sep="/").items()))


def unflatten(flat):
    """The nested dict of {name: leaf}."""
    return traverse_util.unflatten_dict(flat, sep="/")


def is_stacked(name):
    """Whether the parameter has a leading axis of layers."""
    return "/layers/" in name


def layer_names(name, layers):
    """The names of a stacked parameter's layers."""
    return [name.replace("/layers/", f"/layers/{i}/", 1) for i in range(layers)]


def match(rules, shapes, what="rules", expand=False, optional=()):
    """Reads ordered rules `(pattern, value)`: the first pattern that matches a whole name decides.

    Args:
        rules: sequence of (regular expression, value).
        shapes: {name: shape} of the parameters.
        what: the option's name, for messages.
        expand: values are strings in which "\\1" stands for what the pattern's first group matched, or None.
        optional: patterns that may match nothing, as ".*" always may.

    Returns:
        {name: value}; for a stacked parameter, an array with the value of each of its layers.

    Raises:
        ConfigError: a parameter that no rule covers, a pattern that matches no parameter, a bad pattern.
    """
    compiled = []
    for pattern, value in rules:
        try:
            compiled.append((re.compile(pattern), value))
        except re.error as error:
            raise ConfigError(f"{what}: {pattern!r} is not a regular expression: {error}") from None
    seen, uncovered, unmatched = [], [], set(range(len(compiled)))

    def decide(name):
        seen.append(name)
        unmatched.difference_update([i for i in unmatched if compiled[i][0].fullmatch(name)])
        for pattern, value in compiled:
            if found := pattern.fullmatch(name):
                return found.expand(value) if expand and value is not None else value
        uncovered.append(name)
        return None

    values = {}
    for name, shape in shapes.items():
        if is_stacked(name):
            values[name] = np.array([decide(n) for n in layer_names(name, shape[0])])
        else:
            values[name] = decide(name)
    if uncovered:
        raise ConfigError(f"{what} cover no {_some(uncovered)}; end with a rule ('.*', value) for all the rest")
    for i in sorted(unmatched):
        pattern = compiled[i][0].pattern
        if pattern in (".*", *optional):
            continue
        close = difflib.get_close_matches(pattern, seen, n=3, cutoff=0.3) or seen[:3]
        raise ConfigError(f"{what}: the pattern {pattern!r} matches no parameter; names look like {_some(close)}")
    return values


def _some(names, most=5):
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
