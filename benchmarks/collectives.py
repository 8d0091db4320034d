"""What devices exchange in a step, by the axis of the mesh, as compiled; writes a table of docs/scaling.md.

    python -m benchmarks.collectives                            # minutes, on a machine without a TPU
    python -m benchmarks.collectives --only=sequence

Each row is a plan of one model by `plan.py`, whose JSON stays in --keep; what lies there is not planned again, and what
is not there is left out of the page. pip install -e '.[plan]' first.
"""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import tables
from cloze import storage
from cloze.parallel.collectives import Collective

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"
MODEL = (  # small, so that it compiles in a minute; what is exchanged how often does not depend on sizes
    "--config=configs/gpt2.py:tiny --topology=v5e:2x4 --config.model.dtype=bfloat16 --config.model.layers=4 "
    "--config.model.width=256 --config.model.heads=4 --config.model.ffn=1024 --config.train.batch_size=16"
)
MESHES = {"data": "data:8", "fsdp": "fsdp:8", "tensor": "data:2,tensor:4", "sequence": "data:2,sequence:4"}
KEEP = flags.DEFINE_string("keep", "runs/collectives", "Folder for the plans.")
ONLY = flags.DEFINE_list("only", [], f"Axes to plan, of {', '.join(MESHES)}; empty: all.")
flags.register_validator("only", lambda names: set(names) <= MESHES.keys(), f"known are {', '.join(MESHES)}")


def of_plan(plan):
    """{(axes, kind): (transfers of a step, bytes that a device sends in them)} of a plan as JSON, the most first."""
    found = {}
    for one in plan["collectives"]:
        transfer = Collective(one["kind"], tuple(one["axes"]), tuple(range(one["devices"])), one["bytes"], one["times"])
        count, sent = found.get((transfer.axes, transfer.kind), (0, 0.0))
        found[transfer.axes, transfer.kind] = count + transfer.times, sent + transfer.sent * transfer.times
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def table(plans):
    """The table as Markdown; `plans` are {name of a mesh: plan as JSON}."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu"))
    lines = [
        f"`python -m benchmarks.collectives`, {time.strftime('%Y-%m-%d')}, {versions}; `plan.py {MODEL}`.\n",
        tables.head("`--mesh=`", "along", "collective", "times in a step", "MB sent by a device in a step"),
    ]
    for name, plan in plans.items():
        for number, ((axes, kind), (times, sent)) in enumerate(of_plan(plan).items()):
            mesh = f"`{MESHES[name]}`" if not number else ""
            lines.append(tables.row(mesh, ", ".join(axes) or "-", kind, f"{times:,}", f"{sent / 1e6:,.2f}"))
    return "\n".join(lines)


def main(argv):
    """Plans what is missing and writes the page."""
    del argv
    keep = pathlib.Path(KEEP.value).absolute()
    keep.mkdir(parents=True, exist_ok=True)
    for name in ONLY.value or MESHES:
        if not (keep / f"{name}.json").exists():
            told = [f"--mesh={MESHES[name]}", f"--json={keep / f'{name}.json'}"]
            subprocess.run([sys.executable, str(ROOT / "plan.py"), *MODEL.split(), *told], cwd=ROOT, check=True)
    plans = {name: json.loads(file.read_text()) for name in MESHES if (file := keep / f"{name}.json").exists()}
    with storage.whole(PAGE) as partial:
        partial.write_text(tables.replace(PAGE.read_text(), "collectives", table(plans)))
    print(f"{PAGE.name} has {', '.join(plans)}; not there: {', '.join(set(MESHES) - set(plans)) or 'none'}")


if __name__ == "__main__":
    app.run(main)
