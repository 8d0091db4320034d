"""How pictures are drawn: lines, bars and a surface, by matplotlib, in one style."""

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence

from cloze.errors import ConfigError

INSTALL = "pip install -e '.[plots]' (or: pip install matplotlib)"
_MARKERS = "osD^v<>Ph*"


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
        axis.set_title(name, loc="left", fontsize=11)
        axis.set_ylabel(left)
        axis.set_xticks(range(len(ticks)), ticks)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(values) > 1:
            axis.legend(frameon=False)
    axes[-1, 0].set_xlabel(below)
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
