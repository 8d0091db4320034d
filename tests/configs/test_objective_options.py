"""A configuration holds the options of its own objective and no others, however it came to it."""

import dataclasses
import sys

import hypothesis
import pytest
from absl import flags
from hypothesis import strategies as st
from ml_collections import config_flags

from cloze import cli, options
from cloze.configs import base
from cloze.errors import ConfigError
from cloze.objectives import OBJECTIVES

NAMES = st.sampled_from(list(OBJECTIVES))


def option_names(name):
    return {field.name for field in dataclasses.fields(OBJECTIVES[name]) if "option" in field.metadata}


@hypothesis.given(st.lists(NAMES, min_size=1, max_size=5))
@hypothesis.settings(deadline=None)
def test_a_section_has_the_options_of_its_objective(names):
    section = base.get_base().objective
    for name in names:
        section.name = name
        assert set(section) == {"name"} | option_names(name)
        options.check(section.chosen, section, "objective")


@hypothesis.given(NAMES, NAMES)
@hypothesis.settings(deadline=None)
def test_what_two_objectives_share_is_kept(first, second):
    section = base.get_base().objective
    section.update(name=first)
    changed = {name: 0.25 for name in ("mask_rate", "label_smoothing") if name in section}
    section.update(changed)
    section.name = second
    fresh = base.get_base().objective
    fresh.name = second
    for name in option_names(second):
        assert section[name] == changed.get(name, fresh[name]), name


@hypothesis.given(NAMES, st.data())
@hypothesis.settings(deadline=None)
def test_options_of_others_are_refused(name, data):
    others = sorted(set().union(*map(option_names, OBJECTIVES)) - option_names(name))
    section = base.get_base().objective
    section.name = name
    with pytest.raises(ConfigError, match=f"and objective.name={name} does not read it"):
        section[data.draw(st.sampled_from(others))] = 1


FLAGS = ["--config.objective.name=span_corruption", "--config.objective.mean_span=5", "--config.model.dropout=0"]


@hypothesis.given(st.permutations(["--config=configs/t5.py:tiny", *FLAGS]))
@hypothesis.settings(deadline=None, max_examples=24)
def test_flags_come_in_any_order(arguments):
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    original, sys.argv = sys.argv, ["train.py", *cli.choices_first(arguments)]
    try:
        with options.choosing():
            values(sys.argv)
    finally:
        sys.argv = original
    section = config.value.objective
    assert (section.name, section.mean_span, config.value.model.dropout) == ("span_corruption", 5.0, 0.0)
    assert set(section) == {"name"} | option_names("span_corruption")


def test_a_base_of_the_same_choices_differs_in_what_was_set():
    config = base.get_base()
    config.objective.update(mean_span=5.0, name="span_corruption")
    like = base.to_dict(base.like(config))["objective"]
    assert {k: v for k, v in base.to_dict(config)["objective"].items() if like[k] != v} == {"mean_span": 5.0}
