"""Rules over names: first match wins, layers are told apart, mistakes are named."""

import numpy as np
import pytest

from cloze.errors import ConfigError
from cloze.models import names

SHAPES = {
    "encoder/layers/attention/query/kernel": (4, 2, 2),
    "encoder/final_norm/scale": (2,),
    "token/embedding": (5, 2),
}


def test_first_match_wins_and_layers_have_values_of_their_own():
    rules = ((r"encoder/layers/[01]/.*", "low"), (r"encoder/.*", "high"), (r".*", "rest"))
    values = names.match(rules, SHAPES)
    assert values["encoder/layers/attention/query/kernel"].tolist() == ["low", "low", "high", "high"]
    assert values["encoder/final_norm/scale"] == "high" and values["token/embedding"] == "rest"


def test_what_no_rule_covers_is_an_error_that_lists_names():
    with pytest.raises(ConfigError, match="token/embedding"):
        names.match(((r"encoder/.*", 1),), SHAPES, "trainable")


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(ConfigError, match="encoder/layer/.*matches no parameter"):
        names.match(((r"encoder/layer/.*", 1), (r".*", 2)), SHAPES)
    with pytest.raises(ConfigError, match="regular expression"):
        names.match(((r"encoder/(", 1), (r".*", 2)), SHAPES)


def test_patterns_that_may_match_nothing_are_named():
    rules = ((r".*(norm|bias).*", False), (r".*", True))
    shapes = {"token/embedding": (5, 2)}
    assert names.match(rules, shapes, optional=(r".*(norm|bias).*",)) == {"token/embedding": True}
    with pytest.raises(ConfigError, match="matches no parameter"):
        names.match(rules, shapes)
    with pytest.raises(ConfigError, match="matches no parameter"):
        names.match(((r".*bias", False), *rules), shapes, optional=(r".*(norm|bias).*",))


def test_flatten_and_unflatten_are_inverse():
    tree = {"b": {"c": np.ones(2)}, "a": np.zeros(1)}
    flat = names.flatten(tree)
    assert list(flat) == ["a", "b/c"]
    assert names.flatten(names.unflatten(flat)).keys() == flat.keys()
