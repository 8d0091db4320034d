"""A study: a sweep that holds a published claim against runs that fit a laptop, and what is written about it."""

import dataclasses
import math
import pathlib
import re
import statistics
import textwrap
from collections.abc import Sequence

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
    """

    title: str
    claim: str
    source: str
    published: str
    here: str
    metric: str
    lower_is_better: bool
    not_shown: str

    def findings(self, outcome: "Outcome") -> list[str]:
        """Lines of Markdown between what was run and what is not shown: here the table, and settings held together.

        Raises:
            ConfigError: a setting has no finished run with the metric.
        """
        return _compared(self, outcome)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study's runs came to.

    Attributes:
        table: lines of the sweep's table.
        settings: (name, values of the metric of its finished runs); the first is what others are held against.
        runs: (parameters, tokens, value of the metric) of each finished run.
    """

    table: Sequence[str]
    settings: Sequence[tuple[str, Sequence[float]]] = ()
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
    """The sweep's table, and how each setting differs from the first."""
    for name, values in outcome.settings:
        if not values or not all(map(math.isfinite, values)):
            raise ConfigError(f"the study needs {study.metric} of every setting: {name} has no finished run with it")
    (first, base), others = outcome.settings[0], outcome.settings[1:]
    counts = sorted({len(values) for _, values in outcome.settings})
    told = " or ".join(map(str, counts))
    lines = [
        f"* {name} against {first}: {verdict(difference(base, values), study.lower_is_better)}"
        for name, values in others
    ]
    return [
        *outcome.table,
        "",
        f"`{study.metric}`, {'lower' if study.lower_is_better else 'higher'} is better, {told} runs of a setting; "
        "a difference of means with Welch's 95% interval:",
        "",
        *lines,
    ]


def wrapped(text: str) -> str:
    """Prose in lines of the page's width."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def put(page: pathlib.Path, name: str, title: str, content: str) -> None:
    """Puts a study's section between its markers in a page; a page without them gets it at its end.

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
        text = f"{text.rstrip()}\n\n## {title}\n\n{block}\n"
    elif parts[1::2] == [begin, end]:
        text = f"{parts[0]}{block}{parts[4]}"
    else:
        raise ConfigError(f"{page} needs one line {begin!r} and after it one line {end!r}; it has {parts[1::2]}")
    page.write_text(text)
