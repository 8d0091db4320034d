"""Every option declares what it may be: a number its range, a text its choices or its form."""

import math
import typing

import pytest

from cloze import options
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.launchers import LAUNCHERS
from cloze.models.config import ModelConfig
from cloze.value_types import Duration, Limits, Name, Path, Pattern, Place, ShortPattern, expected, limits_of

CLASSES = {
    "": base.RunOptions,
    "model": ModelConfig,
    **base.SECTIONS,
    **{f"{section}.{name}": cls for section, (_, known, _) in base.CHOICES.items() for name, cls in known.items()},
    **{f"job.{name}": cls for name, cls in LAUNCHERS.items()},
    "optimizer.scale_by_radam": base.OPTIMIZERS["scale_by_radam"],
}


def leaves(hint):
    """The types of which a type is made."""
    members = [member for member in typing.get_args(hint) if member is not Ellipsis]
    return set().union(*map(leaves, members)) if members else {hint}


@pytest.mark.parametrize("where", CLASSES)
def test_every_option_is_bounded(where):
    cls = CLASSES[where]
    for name, field in options.declared(cls).items():
        said, kinds = field.metadata["option"], leaves(typing.get_type_hints(cls)[name])
        assert kinds & {int, float} == set() or said.choices or str(said.limits), f"{where}.{name} has no range"
        assert str not in kinds or said.choices or name == "rules", f"{where}.{name} has neither choices nor a form"
        assert not kinds & {tuple, list, dict}, f"{where}.{name} does not say what its items are"


@pytest.mark.parametrize(
    "value, hint, words",
    [
        (True, int, "a whole number"),
        (3, float, ""),
        (math.nan, float, "a finite number"),
        ("\ud800", str, "a text"),
        (None, int | None, ""),
        ("x", int | None, "a whole number or null"),
        (["a", "b"], tuple[str, ...], ""),
        (("a", 1), tuple[str, ...], "a list, each item a text"),
        (((".*", True),), tuple[tuple[Pattern, bool], ...], ""),
        ((("(", True),), tuple[tuple[Pattern, bool], ...], "a list, each item a list of 2: a regular expression, true"),
        (r"model\.layers\.(0|1)\..*proj", ShortPattern, ""),
        ("(a+)+", ShortPattern, "a regular expression of at most three repeats"),
        ("(a|a)*b", ShortPattern, "a regular expression of at most three repeats"),
        (".*.*.*.*x", ShortPattern, "a regular expression of at most three repeats"),
        ("a\0b", Path, "a path"),
        ("runs/a:b//c", Path, ""),
        (
            "gs://bucket/run",
            Path,
            "a path without the character 0; an address such as gs://bucket/folder is none: mount",
        ),
        ("text:s3://bucket/*.txt", Path, "a path"),
        ("gs://bucket/compiled", Place, ""),
        ("a\0b", Place, "a path or an address"),
        ("two\nlines", Name, "a text of one line"),
        ("2 epochs", Duration, ""),
        (1e3, Duration, ""),
        ("2 weeks", Duration, "a finite number or a duration"),
        ({"a": 1}, dict[str, int], ""),
        ({"a": "b"}, dict[str, int], "an object, each item a whole number"),
        ({}, list[int], "a list"),
    ],
)
def test_types_say_what_a_value_should_be(value, hint, words):
    found = expected(value, hint)
    assert found.startswith(words) and bool(found) == bool(words)


def test_limits_hold_for_all_numbers_of_a_value():
    assert Limits(least=0).hold(((".*", 1.0), (".*", 0)))
    assert not Limits(least=0).hold(((".*", 1.0), (".*", -0.5)))
    assert not Limits(least=0).hold({"a": -1})
    assert limits_of(int | None, Limits(least=1)).most == limits_of(int, Limits()).most < math.inf
    assert limits_of(float, Limits(least=1)) == Limits(least=1)


def test_options_of_optax_are_not_negative():
    cls = base.OPTIMIZERS["scale_by_radam"]
    values = dict(options.defaults(cls)) | {"eps": -1.0}
    with pytest.raises(ConfigError, match="optimizer.eps=-1.0 must be at least 0"):
        options.check(cls, values, "optimizer")
