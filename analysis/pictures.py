"""How pictures are drawn: lines, bars and a surface, by matplotlib, in one style."""

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence

from cloze.errors import ConfigError

INSTALL = "pip install -e '.[plots]' (or: pip install matplotlib)"
_MARKERS = "osD^v<>Ph*"
_COLOURS = ("tab:blue", "tab:orange")


def check() -> None:
    """Refuses to begin where matplotlib is not installed.

    Raises:
        ConfigError: how to install it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(f"the picture needs matplotlib, which is not installed: {INSTALL}")


def lines(
    path: pathlib.Path, panels: Sequence[tuple[str, str, Mapping[str, Sequence[float]]]], ticks: Sequence[str], *,
    title: str, below: str = "layer", note: str = "",
) -> None:  # fmt: skip
    """One panel above the other, each with lines over the same places.

    Args:
        path: of the PNG.
        panels: (title, name of the vertical axis, {name of a line: its values, NaN where there is none}).
        ticks: names of the places.
        title: of the picture.
        below: name of the horizontal axis.
        note: a sentence under the title.
    """
    pyplot = _pyplot()
    size = (max(7.0, 1.5 + 0.5 * len(ticks)), 1.2 + 3.0 * len(panels))
    figure, axes = pyplot.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False)
    for (name, left, values), axis in zip(panels, axes[:, 0], strict=True):
        for number, (label, line) in enumerate(values.items()):
            axis.plot(range(len(line)), line, marker=_MARKERS[number % len(_MARKERS)], label=label)
        if min(value for line in values.values() for value in line if value == value) >= 0:
            axis.set_ylim(bottom=0)  # of what is at least 0, a small change looks small
        axis.set_title(name, loc="left", fontsize=11)
        axis.set_ylabel(left)
        axis.set_xticks(range(len(ticks)), ticks)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(values) > 1:
            axis.legend(frameon=False)
    axes[-1, 0].set_xlabel(below)
    _finish(pyplot, figure, path, title, note)


def bars(path: pathlib.Path, panels: Sequence[tuple[str, str, Mapping[str, Sequence[float]]]], *, title: str) -> None:
    """One row of horizontal bars above the other, each on an axis of its own.

    Args:
        path: of the PNG.
        panels: (title, name of the axis, {name of a bar: [its value]}).
        title: of the picture.
    """
    pyplot = _pyplot()
    size = (8.0, 1.0 + 1.4 * len(panels))
    figure, axes = pyplot.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False)
    for (name, below, values), axis in zip(panels, axes[:, 0], strict=True):
        drawn = axis.barh(list(values), [value for (value,) in values.values()], height=0.6, color=_COLOURS)
        axis.bar_label(drawn, fmt="{:.3g}", padding=4)
        axis.set_title(name, loc="left", fontsize=11)
        axis.set_xlabel(below)
        axis.margins(x=0.12)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    _finish(pyplot, figure, path, title, "")


def plane(
    path: pathlib.Path, values: Sequence[Sequence[float]], places: Sequence[float], along: Mapping[float, float], *,
    title: str, names: tuple[str, str, str], note: str = "",
) -> None:  # fmt: skip
    """A surface as contours on the left, a line on the right.

    Args:
        path: of the PNG.
        values: [N, N], by the place along the second direction, then the first.
        places: N places along both directions.
        along: {place on the line: value}; empty: only the surface is drawn.
        title: of the picture.
        names: of the surface, the line and the value.
        note: a sentence under the title.
    """
    pyplot = _pyplot()
    count = 2 if along else 1
    figure, axes = pyplot.subplots(1, count, figsize=(6.3 * count, 5.6), layout="constrained", squeeze=False)
    drawn = axes[0, 0].contourf(places, places, values, levels=20, cmap="viridis")
    axes[0, 0].contour(places, places, values, levels=20, colors="white", linewidths=0.4)
    axes[0, 0].plot(0, 0, marker="o", color="red", linestyle="none", label="the run")
    axes[0, 0].set(xlabel="first direction", ylabel="second direction", aspect="equal")
    axes[0, 0].set_title(names[0], loc="left", fontsize=11)
    axes[0, 0].legend(loc="upper right")
    figure.colorbar(drawn, ax=axes[0, 0], label=names[2], shrink=0.85)
    if along:
        axes[0, 1].plot(list(along), list(along.values()), marker="o", markersize=4)
        axes[0, 1].axvline(0, color="gray", linestyle=":")
        axes[0, 1].axvline(1, color="gray", linestyle=":")
        axes[0, 1].set(xlabel="0: where it began, 1: the run", ylabel=names[2])
        axes[0, 1].set_title(names[1], loc="left", fontsize=11)
        axes[0, 1].grid(alpha=0.3)
        axes[0, 1].spines[["top", "right"]].set_visible(False)
    _finish(pyplot, figure, path, title, note)


def _finish(pyplot, figure, path, title, note):
    figure.suptitle(f"{title}\n{note}" if note else title, fontsize=12)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
