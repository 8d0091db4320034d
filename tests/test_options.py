"""Options are declared once: sections, checks and descriptions follow from the declaration."""

import copy
import dataclasses
import sys

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from cloze import options
from cloze.errors import ConfigError
from cloze.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask:
    rate: float = option(0.15, "share that is hidden", above=0, most=1)
    steps: options.Duration = option(10, "how long")
    cap: int | None = option(None, "most hidden tokens", least=1)
    mask_id: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    mean: float = option(3.0, "mean length", above=0, needs={"unit": ("words", "tokens")})
    unit: str = option("words", "of the length", choices=("words", "tokens", "rows"))
    steps: options.Duration = option(10, "how long")


def choice(chosen="mask", **values):
    return options.Choice("name", "objective", {"mask": Mask, "span": Span}, chosen, **values)


def config():
    return ml_collections.ConfigDict(dict(objective=choice()), convert_dict=False)


def test_a_section_holds_the_options_of_its_class_and_no_other_field():
    section = options.section(Mask, cap=3)
    assert dict(section) == {"rate": 0.15, "steps": 10, "cap": 3}
    section.steps = "2 epochs"
    with pytest.raises(AttributeError):
        section.mask_id = 4
    assert Mask(**options.read(Mask, section), mask_id=7) == Mask(cap=3, steps="2 epochs", mask_id=7)


def test_overrides_are_none_until_set_and_keep_their_type():
    section = options.overrides(Mask, rate=0.3)
    assert dict(section) == {"rate": 0.3, "steps": None, "cap": None}
    section.cap = 3
    with pytest.raises(TypeError):
        section.rate = "much"


def test_choosing_exchanges_options_and_keeps_those_in_common():
    section = choice(rate=0.3, steps=7)
    section.name = "span"
    assert dict(section) == {"name": "span", "mean": 3.0, "unit": "words", "steps": 7}
    assert section.chosen is Span
    with pytest.raises(ConfigError, match="objective.rate is an option of mask, and objective.name=span"):
        section.rate = 0.2
    with pytest.raises(ConfigError, match="objective.men is not an option .* did you mean 'mean'"):
        section.men = 2
    with pytest.raises(ConfigError, match="unknown objective.name='spam'; did you mean 'span'"):
        section.name = "spam"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda section: section.copy_and_resolve_references()])
def test_copies_are_choices_of_their_own(copied):
    section = choice("span", mean=5.0)
    other = copied(section)
    other.mean = 2.0
    assert (section.mean, other.mean) == (5.0, 2.0) and other.chosen is Span and other.is_locked


@pytest.mark.parametrize(
    "cls,values,message",
    [
        (Mask, {"rate": 0.0}, r"objective.rate=0.0 must be more than 0 and at most 1"),
        (Mask, {"rate": float("nan")}, r"objective.rate=nan must be"),
        (Mask, {"cap": 0}, r"objective.cap=0 must be at least 1"),
        (Span, {"unit": "word"}, r"objective.unit='word' is not one of words, tokens, rows; did you mean 'words'\?"),
        (
            Span,
            {"unit": "rows", "mean": 2.0},
            r"objective.mean=2.0 needs objective.unit=words or objective.unit=tokens",
        ),
    ],
)
def test_what_is_outside_its_declaration_is_refused(cls, values, message):
    with pytest.raises(ConfigError, match=message):
        options.check(cls, options.defaults(cls) | values, "objective")
    options.check(cls, options.defaults(cls), "objective")


def test_flags_may_set_options_of_the_class_that_another_flag_chooses(tmp_path, monkeypatch):
    path = tmp_path / "config.py"
    path.write_text("from tests import test_options\n\nget_config = lambda arguments='': test_options.config()\n")
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    argv = ["x", f"--config={path}", "--config.objective.name=span", "--config.objective.mean=5"]
    monkeypatch.setattr(sys, "argv", argv)
    with options.choosing():
        values(argv)
    assert dict(config.value.objective) == {"name": "span", "mean": 5.0, "unit": "words", "steps": 10}


def test_a_description_says_value_default_comment_and_range():
    lines = options.describe(Mask, options.defaults(Mask) | {"rate": 0.3}, "objective")
    assert lines[:2] == ["objective.rate = 0.3  (default 0.15)", "    share that is hidden [more than 0 and at most 1]"]
