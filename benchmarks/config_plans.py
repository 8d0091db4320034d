"""Plans by estimate: every experiment on the accelerators it is meant for, and one model on ever more chips.

Part of `python -m benchmarks.plans`; see there. Each plan's JSON stays in a folder, and is not made again.
"""

import copy
import json

from benchmarks import tables
from cloze.configs import catalog
from cloze.errors import UserError
from cloze.parallel import topologies
from cloze.training import plan_search, plans

GIB = 2**30
ACCELERATOR = "h100"  # of 80 GB, as the experiments say
GROWING = "gpt3", "size=6.7b"
SLICES = ("v5p:2x2x1", "v5p:2x2x4", "v5p:4x4x4", "v5p:4x4x8")
ROWS_OF_A_CHIP = 8  # as on the 128 accelerators that it is meant for
FILLED = 0.9  # of a chip's memory: estimates are off by up to a tenth


def plan_configs(keep):
    """Plans all experiments but those that need another run; returns what could not be planned as {name: reason}."""
    failed = {}
    for stem, arguments in catalog.full_sizes():
        name, file = f"{stem}:{arguments}".removesuffix(":"), keep / f"config-{stem}-{arguments}.json"
        if stem in catalog.NEEDS_A_RUN or file.exists():
            continue
        config = catalog.load(stem, arguments)
        try:
            made = plans.make(config, topologies.parse(f"{ACCELERATOR}:{config.devices}"), compiles=False)
        except UserError as error:
            failed[name] = str(error).splitlines()[0]
            continue
        file.write_text(json.dumps({"experiment": name, **made.to_dict()}))
        print(f"{name}: {made.peak / GIB:.1f} GiB", flush=True)
    return failed


def config_table(keep):
    """Each experiment's memory of an accelerator, and its step."""
    found = [json.loads(file.read_text()) for file in sorted(keep.glob("config-*.json"))]
    least = min((plan["memory"]["available"] for plan in found), default=0)
    lines = [
        f"`python -m benchmarks.plans --only=configs`: estimates for accelerators of 80 GB ({ACCELERATOR}), of which "
        f"{least / GIB:.1f} GiB are there.\n",
        tables.head(
            "experiment", "accelerators", "rows", "microbatches", "GiB", "fits", "a step, s", "bound by", "MFU, %"
        ),
    ]
    for plan in found:
        peak, fits = plan["memory"]["estimate"]["peak"], "yes" if plan["fits"] else "**no**"
        cells = [f"`{plan['experiment']}`", f"{plan['devices']:,}", f"{plan['batch_size']:,}", plan["microbatches"]]
        cells += [f"{peak / GIB:.1f}", fits, f"{plan['seconds']:.2f}", plan["bound"], f"{100 * plan['mfu']:.0f}"]
        lines.append(tables.row(*cells))
    names = [f"{stem}:{arguments}".removesuffix(":") for stem, arguments in catalog.full_sizes()]
    missing = [name for name in names if name not in {plan["experiment"] for plan in found}]
    return "\n".join([*lines, "", f"Not planned: {', '.join(missing) or 'none'}."])


def plan_growing(keep):
    """Searches how the growing model runs on each slice."""
    for text in SLICES:
        file, topology = keep / f"growing-{text.replace(':', '-')}.json", topologies.parse(text)
        if file.exists():
            continue
        config = copy.deepcopy(catalog.load(*GROWING))
        config.train.batch_size = ROWS_OF_A_CHIP * topology.chips
        found = plan_search.candidates(config, topology, report=lambda line: None)
        best = plan_search.fastest(found, FILLED * topology.chip.device_memory)[0]
        made = plans.make(plan_search.apply(config, best), topology, compiles=False)
        file.write_text(json.dumps(made.to_dict()))
        print(f"{text}: {best.line()}", flush=True)


def growing_table(keep):
    """The step of the growing model on each slice, and how much longer it is than on the first."""
    files = [keep / f"growing-{text.replace(':', '-')}.json" for text in SLICES]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    lines = [
        f"`python -m benchmarks.plans --only=growing`: `{':'.join(GROWING)}`, {ROWS_OF_A_CHIP} rows of 2,048 tokens "
        "for each chip, the fastest of `--search` that fills 90% of a chip at most, by estimate.\n",
        tables.head("slice", "chips", "mesh", "microbatches", "remat", "GiB", "a step, s", "longer by", "MFU, %"),
    ]
    for plan in found:
        mesh = ", ".join(f"{axis} {size}" for axis, size in plan["mesh"].items() if size > 1)
        cells = [f"`{plan['topology']}`", plan["chips"], mesh, plan["microbatches"], plan["remat"]]
        cells += [f"{plan['memory']['estimate']['peak'] / GIB:.1f}", f"{plan['seconds']:.3f}"]
        cells += [f"{100 * (plan['seconds'] / found[0]['seconds'] - 1):+.1f}%", f"{100 * plan['mfu']:.0f}"]
        lines.append(tables.row(*cells))
    return "\n".join(lines)
