"""Studies: when a difference is beyond the spread, what a section says, and that those of Cloze are whole."""

import dataclasses
import math
import pathlib
import re

import numpy as np
import pytest
from scipy import stats

from cloze.errors import ConfigError
from cloze.sweeps import Study, planned, study

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "configs" / "sweeps").glob("[!_]*.py"))
TOLD = Study(
    title="T", claim="C.", source="S", published="P.", here="H.", metric="m", lower_is_better=True, not_shown="N."
)


def test_an_interval_holds_the_difference_as_often_as_it_says():
    draw = np.random.default_rng(0)
    held = sum(
        abs(found.mean - 1) <= found.margin
        for _ in range(1000)
        for found in [study.difference(draw.normal(0, 1, 3), draw.normal(1, 3, 4))]
    )
    assert 925 <= held <= 980  # Welch's is approximate: 95%


def test_an_interval_is_welchs():
    first, second = [1.0, 2.0, 4.0], [2.0, 2.5, 2.2]
    a, b = np.var(first, ddof=1) / 3, np.var(second, ddof=1) / 3
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 2)
    found = study.difference(first, second)
    assert found.mean == pytest.approx(np.mean(second) - np.mean(first))
    assert found.margin == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(a + b)) and not found.beyond


@pytest.mark.parametrize(
    "first, second, words",
    [
        ([1.0, 1.1, 0.9], [0.5, 0.6, 0.4], "-0.5000 ± 0.2267, better, beyond the spread"),
        ([0.5, 0.6, 0.4], [1.0, 1.1, 0.9], "+0.5000 ± 0.2267, worse, beyond the spread"),
        ([1.0, 1.1, 0.9], [1.0, 1.2, 0.9], "within the spread"),
        ([1.0], [0.5, 0.4], "-0.5500, of one run: nothing is known of the spread"),
        ([1.0, 1.0], [2.0, 2.0], "+1.0000 ± 0.0000, worse, beyond the spread"),
    ],
)
def test_differences_in_words(first, second, words):
    assert words in study.verdict(study.difference(first, second), lower_is_better=True)


def setting(value, values, **more):
    return study.Setting(f"a={value}", {"a": value, **more}, {"m": values})


def test_a_section_says_everything_and_needs_runs_of_every_setting():
    settings = [setting(1, [1.0, 1.1, 0.9]), setting(2, [0.5, 0.6, 0.4])]
    text = study.section(TOLD, study.Outcome(["| table |"], settings), "It ran.")
    for words in (
        "**Claim.** C. Source: S.", "**Published.** P.", "**Here.** H. It ran.", "| table |", "a=2 against a=1",
        "better, beyond", "3 runs of a setting", "**Not shown.** N.",
    ):  # fmt: skip
        assert words in text
    for values in ([], [math.nan]):
        with pytest.raises(ConfigError, match="a=3 has no finished run"):
            study.section(TOLD, study.Outcome([], [*settings, setting(3, values)]), "")


def test_settings_are_held_against_the_first_of_their_kind_at_their_best():
    settings = [setting(a, [loss, loss + 1], rate=rate, task=task) for a, rate, task, loss in
                [(1, 0.1, "x", 5), (1, 0.2, "x", 3), (2, 0.1, "x", 4), (2, 0.2, "x", 6), (1, 0.1, "y", 1),
                 (2, 0.1, "y", 2)]]  # fmt: skip
    told = dataclasses.replace(TOLD, within=("task",), tuned=("rate",))
    found = [[(one.values["a"], one.values["rate"], one.values["task"]) for one in pair]
             for pair in study.pairs(told, settings)]  # fmt: skip
    assert found == [[(1, 0.2, "x"), (2, 0.1, "x")], [(1, 0.1, "y"), (2, 0.1, "y")]]
    higher = study.pairs(dataclasses.replace(told, lower_is_better=False), settings)
    assert [one.values["rate"] for one in higher[0]] == [0.1, 0.2]
    assert "each with its best rate of those tried" in study.section(told, study.Outcome([], settings), "")


def test_a_section_comes_between_its_markers_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    top, listed = "# Page\n\n* `configs/sweeps/five.py`: 5\n", "* `configs/sweeps/two.py`: not run\n"
    page.write_text(f"{top}{listed}\n## One\n\n<!-- begin: one -->\nold\n<!-- end: one -->\n\nafter\n")
    study.put(page, "one", "One", "new \\1")
    changed = "\n## One\n\n<!-- begin: one -->\nnew \\1\n<!-- end: one -->\n\nafter\n"
    assert page.read_text() == f"{top}{listed}{changed}"
    study.put(page, "two", "Two", "second")
    assert page.read_text().startswith(f"{top}{changed}")
    assert page.read_text().endswith("after\n\n## Two\n\n<!-- begin: two -->\nsecond\n<!-- end: two -->\n")
    page.write_text(page.read_text().replace("<!-- end: two -->", ""))
    with pytest.raises(ConfigError, match="needs one line"):
        study.put(page, "two", "Two", "second")
    with pytest.raises(ConfigError, match="in a checkout"):
        study.put(tmp_path / "none.md", "two", "Two", "second")


@pytest.mark.parametrize("name", FILES)
def test_studies_of_cloze_are_whole(name, tmp_path):
    """Of runs that differ in values alone, the first is checked: that its files and options are known."""
    runs, told = planned.read(f"configs/sweeps/{name}.py")
    kinds = {(run.config, *run.overrides, *(base.words for base in run.bases)): run for run in reversed(runs)}
    assert len(planned.checked(list(kinds.values()), tmp_path / "sweep")) >= len(kinds)
    assert len({run.name for run in runs}) == len(runs) and len(runs) % 3 == 0
    keys = {key for run in runs for key in run.values}
    assert {*told.within, *told.tuned} <= keys
    assert all(metric.startswith("validation/") or runs[0].evaluate for metric in told.metrics)
    assert not told.columns or set(told.metrics) <= set(told.columns)
    text = (ROOT / "configs" / "sweeps" / f"{name}.py").read_text()
    assert f"python sweep.py --sweep=configs/sweeps/{name}.py --study" in text


def test_the_page_has_a_section_of_every_study_that_was_run_and_names_the_others():
    text = (ROOT / study.PAGE).read_text()
    sections = re.findall(r"^<!-- begin: (\w+) -->$", text, re.MULTILINE)
    listed = re.findall(r"^\* `configs/sweeps/(\w+)\.py`", text, re.MULTILINE)
    assert sorted([*sections, *listed]) == FILES
