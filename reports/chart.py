"""Curves as inline SVG. Colours are classes that the page's style sheet sets, for light and for dark."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 400, 230  # of the view box: text of 12 stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 30  # margins
MOST_POINTS = 300  # of a curve; more are replaced by means
MOST_DOTS = 12  # points of a strong curve up to which they are drawn
COLOURS = 8
DASHES = ("", "6 3", "2 3")  # curves beyond COLOURS have a colour again, and are dashed
LOGARITHMIC = 30.0  # ratio of the greatest to the smallest value from which an axis may be logarithmic


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes:
        name: for the legend.
        points: (x, y), by x; what is not finite is left out.
        colour: number of its colour, from 0.
        strong: a thick line, with points where there are few; else a thin one.
        joined: whether a line goes through the points; else they are dots.
        band: (x, lower, upper), by x: a shaded area, such as where the curve may lie.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    strong: bool = True
    joined: bool = True
    band: Sequence[tuple[float, float, float]] = ()


def chart(title: str, curves: Sequence[Curve], unit: str = "", logarithmic: bool = False, over: str = "step") -> str:
    """A figure with a title, axes, curves and a legend, as HTML; without any point, "".

    Args:
        title: what is shown.
        curves: each with a name of its own, or that of others of its colour.
        unit: of the values.
        logarithmic: whether the axis of values may be logarithmic, which it is where they differ much.
        over: what x is; if not steps, its axis is logarithmic.
    """
    kept = [dataclasses.replace(curve, points=_thinned(curve.points)) for curve in curves]
    kept = [curve for curve in kept if curve.points]
    if not kept:
        return ""
    xs, ys = ([point[axis] for curve in kept for point in curve.points] for axis in (0, 1))
    ys += [value for curve in kept for _, *ends in curve.band for value in ends]
    logarithmic = logarithmic and min(ys) > 0 and max(ys) / min(ys) > LOGARITHMIC
    x = Axis(xs, LEFT, WIDTH - RIGHT, logarithmic=over != "step")
    y = Axis(ys, HEIGHT - BOTTOM, TOP, logarithmic)
    label = f"{title} over {over}s: " + "; ".join(_in_words(curve) for curve in kept)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}{f" <small>{escape(unit)}</small>" if unit else ""}'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" data-over="{escape(over)}" '
        f'aria-label="{escape(label)}">'
        f"{_grid(x, y, over)}{''.join(_drawn(curve, x, y) for curve in kept)}"
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg>{_legend(kept)}'
        '<div class="tip" aria-hidden="true"></div></figure>'
    )


class Axis:
    """Values along one side of the view box.

    Args:
        values: all that are to be seen.
        start, end: where the least and the greatest of them lie.
        logarithmic: all values are above 0, and their logarithms lie evenly.
    """

    def __init__(self, values: Sequence[float], start: float, end: float, logarithmic: bool = False):
        self._start, self._end, self._log = start, end, logarithmic
        self._low, self._high = min(map(self._scale, values)), max(map(self._scale, values))
        if self._low == self._high:
            room = abs(self._low) * 0.1 or 1.0
            self._low, self._high = self._low - room, self._high + room
        elif start > end:  # values, which shall not lie on the frame
            room = 0.04 * (self._high - self._low)
            self._low, self._high = self._low - room, self._high + room

    def _scale(self, value):
        return math.log10(max(value, sys.float_info.min)) if self._log else value

    def place(self, value: float) -> float:
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values on the axis, `most` of them or one more."""
        if self._log and (decades := range(math.ceil(self._low), math.floor(self._high) + 1)) and len(decades) > 1:
            return [10.0**decade for decade in decades[:: max(1, len(decades) // most)]]
        if self._log:
            decades = range(math.floor(self._low), math.ceil(self._high))
            rounds = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
            if len(inside := [one for one in rounds if one > 0 and self._low <= math.log10(one) <= self._high]) > 1:
                return inside
        rough = (self._high - self._low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
        first, last = math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9)
        found = [number * step for number in range(first, last + 1)]
        return [10.0**exponent for exponent in found] if self._log else found


def short(value: float) -> str:
    """A number for a label: 0.15, 1.5e-4, 20k."""
    if value == 0:
        return "0"
    size = abs(value)
    for unit, one in (("M", 1e6), ("k", 1e3)):
        if size >= one:
            return f"{value / one:.3g}{unit}"
    return f"{value:.3g}" if size >= 1e-3 else f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")


def _thinned(points):
    """Points with finite values; where there are many, means of as many at a time."""
    kept = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
    size = math.ceil(len(kept) / MOST_POINTS)
    if size <= 1:
        return kept
    chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
    return [(chunk[-1][0], math.fsum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _in_words(curve):
    return f"{curve.name} {short(curve.points[0][1])} to {short(curve.points[-1][1])}"


def _grid(x, y, over):
    lines = [f'<text x="{LEFT - 5}" y="{HEIGHT - BOTTOM + 16}" text-anchor="end">{escape(over)}</text>']
    for value in y.ticks():
        at = y.place(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        lines.append(f'<text x="{LEFT - 5}" y="{at + 4}" text-anchor="end">{short(value)}</text>')
    for value in x.ticks(4):
        at = x.place(value)
        if at < LEFT + 12:
            continue  # there is the word
        anchor = "end" if at > WIDTH - RIGHT - 15 else "middle"
        lines.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{short(value)}</text>')
    return "".join(lines)


def _drawn(curve, x, y):
    places = [(x.place(a), y.place(b)) for a, b in curve.points]
    kind = f"c{curve.colour % COLOURS} {'strong' if curve.strong else 'thin'}"
    dash = DASHES[curve.colour // COLOURS % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    values = ";".join(f"{a:.6g},{b:.5g}" for a, b in curve.points)
    path = " ".join(f"{a},{b}" for a, b in places)
    shown = len(places) == 1 or not curve.joined or (curve.strong and len(places) <= MOST_DOTS)
    dots = "".join(f'<circle cx="{a}" cy="{b}" r="2.5"/>' for a, b in places) if shown else ""
    line = f'<polyline points="{path}"{dashed}/>' if curve.joined else ""
    return (
        f'<g class="curve {kind}" data-name="{escape(curve.name)}" data-points="{values}" data-places="{path}">'
        f"{_area(curve.band, x, y)}{line}{dots}</g>"
    )


def _area(band, x, y):
    if not band:
        return ""
    edge = [(a, low) for a, low, _ in band] + [(a, high) for a, _, high in reversed(band)]
    return f'<polygon class="band" points="{" ".join(f"{x.place(a)},{y.place(b)}" for a, b in edge)}"/>'


def _legend(curves):
    seen = {(curve.name, curve.colour): curve for curve in curves}
    if len(seen) < 2:
        return ""
    items = "".join(
        f'<li class="c{curve.colour % COLOURS}{"" if curve.strong else " thin"}">{escape(curve.name)}</li>'
        for curve in seen.values()
    )
    return f'<ul class="legend">{items}</ul>'
