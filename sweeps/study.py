"""A study: a sweep that holds a published claim against runs that fit a laptop, and what is written about it."""

import dataclasses
import itertools
import math
import pathlib
import re
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from scipy import stats

from cloze.errors import ConfigError

PAGE = pathlib.Path("docs/studies.md")
CONFIDENCE = 0.95
WIDTH = 120  # of lines of prose in the page
LEAST_RUNS = 2  # of a setting, to know a spread


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What a sweep is about; a sweep file defines one as STUDY.

    Attributes:
        title: of the section.
        claim: what is claimed, in a sentence, and by whom.
        source: paper, section or table, and where it is found.
        published: the figures at full scale.
        here: what the sweep trains, and on what.
        metric: by which the settings are compared, a column of the sweep's table.
        lower_is_better: which way the metric goes.
        not_shown: what follows from none of it.
        more_metrics: by which they are compared as well; they go the same way.
        columns: metrics that the table shows, beside what the settings cost if that differs; empty: all.
        within: keys; a setting is held against the first one of the same values. Empty: against the first of all.
        tuned: keys of which each setting has the value that is best for it, by the mean of `metric`.
    """

    title: str
    claim: str
    source: str
    published: str
    here: str
    metric: str
    lower_is_better: bool
    not_shown: str
    more_metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    tuned: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """All by which the settings are compared."""
        return self.metric, *self.more_metrics

    def findings(self, outcome: "Outcome") -> list[str]:
        """Lines of Markdown between what was run and what is not shown: here the table, and settings held together.

        Raises:
            ConfigError: a setting has no finished run with a metric of the study.
        """
        return _compared(self, outcome)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs of a sweep that differ in seeds alone, as a study sees them.

    Attributes:
        name: in words.
        values: {key: value} in which settings differ.
        metrics: {metric: its values, one of each finished run that has it}.
    """

    name: str
    values: dict[str, Any]
    metrics: dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study's runs came to.

    Attributes:
        table: lines of the sweep's table.
        settings: of the sweep, in its order.
        runs: (parameters, tokens, value of the metric) of each finished run.
    """

    table: Sequence[str]
    settings: Sequence[Setting] = ()
    runs: Sequence[tuple[float, float, float]] = ()


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two settings differ in the mean of a metric.

    Attributes:
        mean: second minus first.
        margin: half the width of Welch's 95% confidence interval; NaN where it is not known.
    """

    mean: float
    margin: float

    @property
    def beyond(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.margin


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The difference of two means, by Welch's interval for unequal variances (Welch 1947).

    Args:
        first, second: a value of each run of a setting.
    """
    mean = statistics.fmean(second) - statistics.fmean(first)
    if min(len(first), len(second)) < LEAST_RUNS:
        return Difference(mean, math.nan)
    if not (statistics.variance(first) or statistics.variance(second)):
        return Difference(mean, 0.0)
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.high - interval.low) / 2)


def verdict(found: Difference, lower_is_better: bool) -> str:
    """A difference in words."""
    if math.isnan(found.margin):
        return f"{found.mean:+.4f}, of one run: nothing is known of the spread"
    better = (found.mean < 0) == lower_is_better
    said = ("better" if better else "worse") + ", beyond the spread" if found.beyond else "within the spread"
    return f"{found.mean:+.4f} ± {found.margin:.4f}, {said}"


def pairs(study: Study, settings: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    """(what it is held against, a setting) of all that are held against another one."""
    best: dict[str, Setting] = {}
    for one in settings:
        key = repr({key: value for key, value in one.values.items() if key not in study.tuned})
        before = best.setdefault(key, one)
        means = [statistics.fmean(setting.metrics[study.metric]) for setting in (before, one)]
        if (means[1] < means[0]) == study.lower_is_better and means[0] != means[1]:
            best[key] = one
    first: dict[str, Setting] = {}
    found = []
    for one in best.values():
        base = first.setdefault(repr([one.values.get(key) for key in study.within]), one)
        if base is not one:
            found.append((base, one))
    return found


def section(study: Study, outcome: Outcome, how: str) -> str:
    """The section of a study in Markdown.

    Args:
        study: the study.
        outcome: of its runs.
        how: what was run, when and on what.

    Raises:
        ConfigError: see `Study.findings`.
    """
    return "\n".join(
        [
            wrapped(f"**Claim.** {study.claim} Source: {study.source}."),
            "",
            wrapped(f"**Published.** {study.published}"),
            "",
            wrapped(f"**Here.** {study.here} {how}"),
            "",
            *study.findings(outcome),
            "",
            wrapped(f"**Not shown.** {study.not_shown}"),
        ]
    )


def _compared(study, outcome):
    """The sweep's table, and how each setting differs from what it is held against."""
    settings = outcome.settings
    for metric, one in itertools.product(study.metrics, settings):
        if not one.metrics[metric] or not all(map(math.isfinite, one.metrics[metric])):
            raise ConfigError(f"the study needs {metric} of every setting: {one.name} has no finished run with it")
    counts = sorted({len(values) for one in settings for values in one.metrics.values()})
    told = (
        f"{'lower' if study.lower_is_better else 'higher'} is better, {' or '.join(map(str, counts))} runs of a setting"
    )
    if study.tuned:
        told += f", each with its best {' and '.join(key.rpartition('.')[2] for key in study.tuned)} of those tried"
    lines = list(outcome.table)
    for metric in study.metrics:
        lines += ["", f"`{metric}`, {told}; a difference of means with Welch's 95% interval:", ""]
        lines += [
            f"* {one.name} against {base.name}: "
            + verdict(difference(base.metrics[metric], one.metrics[metric]), study.lower_is_better)
            for base, one in pairs(study, settings)
        ]
    return lines


def wrapped(text: str) -> str:
    """Prose in lines of the page's width."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def put(page: pathlib.Path, name: str, title: str, content: str) -> None:
    """Puts a study's section between its markers in a page; a page without them gets it at its end.

    A line "* `configs/sweeps/NAME.py` ...", which names a study that is not run yet, goes.

    Args:
        page: the Markdown file.
        name: of the markers.
        title: of the section, if it is new.
        content: the section.

    Raises:
        ConfigError: there is no such page, or its markers are torn.
    """
    if not page.is_file():
        raise ConfigError(f"there is no {page}: run the command in a checkout of Cloze")
    text = page.read_text()
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    parts = re.split(f"({re.escape(begin)}|{re.escape(end)})", text)
    block = f"{begin}\n{content.strip()}\n{end}"
    if len(parts) == 1:
        text = re.sub(rf"^\* `configs/sweeps/{re.escape(name)}\.py`.*\n", "", text, flags=re.MULTILINE)
        text = f"{text.rstrip()}\n\n## {title}\n\n{block}\n"
    elif parts[1::2] == [begin, end]:
        text = f"{parts[0]}{block}{parts[4]}"
    else:
        raise ConfigError(f"{page} needs one line {begin!r} and after it one line {end!r}; it has {parts[1::2]}")
    page.write_text(text)
