"""A plan as a picture: what fills a device's memory, and what a step's time is spent on."""

import pathlib
from typing import Any

from cloze.errors import ConfigError
from cloze.training.plans import GIB, Plan

INSTALL = "pip install -e '.[plan]' (or: pip install matplotlib)"


def check(path: str) -> None:
    """Refuses what no picture can be written to, before anything is compiled.

    Raises:
        ConfigError: another kind of file, a folder that is not there, or matplotlib is not installed.
    """
    if pathlib.Path(path).suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--picture={path}: a picture is a .png, .svg or .pdf file")
    if not pathlib.Path(path).absolute().parent.is_dir():
        raise ConfigError(f"--picture={path}: there is no folder {pathlib.Path(path).parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(f"--picture needs matplotlib, which is not installed: {INSTALL}") from None


def memory_bars(plan: Plan) -> dict[str, dict[str, float]]:
    """{bar: {part: GiB of a device}}: the estimate, and beside it what the compiler needs."""
    parts = {name: size / GIB for name, size in plan.estimate.parts().items() if name != "peak"}
    bars = {"estimate": parts}
    if plan.compiled:
        held, temporaries = plan.compiled["arguments"] / GIB, plan.compiled["temporaries"] / GIB
        outputs = max(0.0, plan.compiled["peak"] / GIB - held - temporaries)
        bars["compiled"] = {"arguments": held, "temporaries": temporaries, "new outputs": outputs}
    return bars


def time_parts(plan: Plan) -> dict[str, float]:
    """{part: seconds of a step}; they add up to the step."""
    if plan.time is None:
        return {}
    return {
        "matrix products": plan.time.products,
        "memory traffic": plan.time.memory,
        "waiting for the network": plan.time.waiting,
    }


def draw(plans: list[Plan], path: str) -> None:
    """Writes a picture of one or several plans, one bar above the other.

    Args:
        plans: not empty; all of one topology.
        path: see `check`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    memory = [(f"{_title(plan)}\n{name}", parts) for plan in plans for name, parts in memory_bars(plan).items()]
    times = [(_title(plan), time_parts(plan)) for plan in plans if plan.time]
    height = 1.6 + 0.75 * (len(memory) + max(1, len(times)))
    shares = {"height_ratios": [len(memory) + 1, max(1, len(times)) + 1]}
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(10, height), layout="constrained", gridspec_kw=shares)
    chip = plans[0].topology.chip
    available = chip.device_memory / GIB if chip else 0.0
    _stack(above, memory, "GiB on a device", "{:.3g}", available)
    if chip:
        above.axvline(available, color="black", linestyle="--", label=f"{available:.0f} GiB of a {chip.name}")
    above.set_title("Memory")
    below.set_title("Time of a step, predicted")
    if times:
        _stack(below, times, "seconds", "{:.3g}")
    else:
        below.text(0.5, 0.5, "no prediction for fake CPU devices", ha="center", transform=below.transAxes)
        below.set_axis_off()
    for axes in (above, below):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _title(plan):
    cut = " ".join(f"{axis} {size}" for axis, size in plan.mesh.items() if size > 1) or "1 device"
    batch = f"remat {plan.settings['remat']}, {plan.settings['microbatches']} microbatches"
    return f"{plan.name} on {plan.topology.text}\n{cut}, {batch}"


def _stack(axes: Any, bars, unit, form, least=0.0):
    """Horizontal bars, the first at the top, on an axis to `least` or more; a part has one colour in all of them."""
    names = list(dict.fromkeys(name for _, parts in bars for name in parts))
    longest = max(least, *(sum(parts.values()) for _, parts in bars))
    left = [0.0] * len(bars)
    for name in names:
        sizes = [parts.get(name, 0.0) for _, parts in bars]
        drawn = axes.barh(range(len(bars)), sizes, left=left, label=name, height=0.6)
        texts = [form.format(size) if size > longest / 20 else "" for size in sizes]
        axes.bar_label(drawn, texts, label_type="center", fontsize=8)
        left = [begin + size for begin, size in zip(left, sizes, strict=True)]
    for place, total in enumerate(left):
        axes.annotate(form.format(total), (total, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [title for title, _ in bars], fontsize=8)
    axes.set_xlim(0, longest * 1.12)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
