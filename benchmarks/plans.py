"""Plans held to what the compiler needs and to what others have published; writes both tables of docs/scaling.md.

    python -m benchmarks.plans --keep=runs/plans                # minutes for each row, on a machine without a TPU
    python -m benchmarks.plans --keep=runs/plans --only=bert

Each row is a command of `plan.py`, whose JSON stays in --keep; a row that lies there is not planned again. Rows that
are not there are left out of the page, and the command says which. pip install -e '.[plan]' first.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import tables
from cloze import storage

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Row:
    """One plan.

    Attributes:
        arguments: of plan.py.
        tokens: published tokens a second of one chip; 0: none are, the row is there for its memory.
        source: where they stand.
    """

    arguments: str
    tokens: float = 0.0
    source: str = ""


_32B = (
    "--config=configs/llama.py:size=1_7b --config.model.width=8192 --config.model.layers=32 --config.model.heads=64 "
    "--config.model.kv_heads=64 --config.model.ffn=28672 --config.train.microbatches=1"
)
_MAXTEXT = "github.com/AI-Hypercomputer/maxtext, MaxText/configs/{}/README.md"
# MaxText prints FLOP/s: 6 for each weight of a product and 12 L d S, 194.9 GFLOP for a token of its 32B.
_32B_FLOPS = 194.9e9
ROWS = {
    "bert": Row("--config=configs/bert.py:size=large --topology=v5e:4x4"),
    "t5": Row("--config=configs/t5.py:size=11b --topology=v5p:4x4x4"),
    "llama": Row("--config=configs/llama.py:size=3_8b --topology=v6e:16x16 --config.train.microbatches=2"),
    "gpt3": Row("--config=configs/gpt3.py:size=175b --topology=v5p:8x8x16"),
    "modernbert": Row("--config=configs/modernbert.py:size=large --topology=v5e:4x4 --config.train.microbatches=28"),
    "maxtext_v5p": Row(
        f"{_32B} --topology=v5p:4x4x4 --mesh=fsdp:16,tensor:4 --config.train.batch_size=448 --config.model.remat=dots",
        328e12 / _32B_FLOPS,
        _MAXTEXT.format("v5p"),
    ),
    "maxtext_v5e": Row(
        f"{_32B} --topology=v5e:16x16 --mesh=fsdp:256 --config.train.batch_size=1024",
        132e12 / _32B_FLOPS,
        _MAXTEXT.format("v5e"),
    ),
    "maxtext_v6e": Row(
        "--config=configs/llama.py:size=3.1_8b --topology=v6e:2x4 --mesh=fsdp:8 --config.train.batch_size=24 "
        "--config.train.microbatches=1",
        7138.89,
        "github.com/AI-Hypercomputer/tpu-recipes, training/trillium/Llama3.1-8B-MaxText/v6e-8",
    ),
}
ESTIMATE = flags.DEFINE_bool("estimate", False, "Compile nothing that is missing: estimates of published rows only.")
KEEP = flags.DEFINE_string("keep", "runs/plans", "Folder for the plans.")
ONLY = flags.DEFINE_list("only", [], f"Rows to plan, of {', '.join(ROWS)}; empty: all.")
flags.register_validator("only", lambda names: set(names) <= ROWS.keys(), f"known are {', '.join(ROWS)}")


def plan(name, file, *arguments):
    """Plans a row into a file."""
    command = [sys.executable, str(ROOT / "plan.py"), *ROWS[name].arguments.split(), *arguments, f"--json={file}"]
    print(" ".join(command), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        print(f"{name}: failed, it is left out", flush=True)


def memory_table(compiled):
    """Estimate beside what the compiler needs; `compiled` are {row: plan as JSON}."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu"))
    lines = [
        f"`python -m benchmarks.plans`, {time.strftime('%Y-%m-%d')}, {versions}.\n",
        tables.head("plan.py", "estimate, GiB", "compiled, GiB", "off by"),
    ]
    for name, made in compiled.items():
        estimate, needed = made["memory"]["estimate"]["peak"], made["memory"]["compiled"]
        cells = [f"`{ROWS[name].arguments.replace('--config=configs/', '')}`", f"{estimate / GIB:.2f}"]
        if needed is None:
            cells += [f"refused: {made['refused']}", "-"]
        else:
            cells += [f"{needed['peak'] / GIB:.2f}", _off(estimate, needed["peak"])]
        lines.append(tables.row(*cells))
    return "\n".join(lines)


def time_table(estimated, compiled):
    """Predicted beside published rates, tokens a second of a chip; both are {row: plan as JSON}."""
    columns = ("published", "by estimate", "off by", "compiled", "off by", "source")
    lines = [tables.head("tokens/s of a chip", *columns)]
    for name, row in ROWS.items():
        if not row.tokens or not (name in estimated or name in compiled):
            continue
        cells = [f"{row.tokens:,.0f}"]
        for found in (estimated, compiled):
            made = found.get(name)
            rate = made["tokens_per_second"] / made["chips"] if made else None
            cells += [f"{rate:,.0f}", _off(rate, row.tokens)] if made else ["-", "-"]
        lines.append(tables.row(name, *cells, row.source))
    return "\n".join(lines)


def _off(value, true):
    return f"{100 * (value / true - 1):+.0f}%"


def _read(keep, suffix):
    return {name: json.loads(file.read_text()) for name in ROWS if (file := keep / f"{name}{suffix}.json").exists()}


def main(argv):
    """Plans what is missing and writes the page."""
    del argv
    keep = pathlib.Path(KEEP.value).absolute()
    keep.mkdir(parents=True, exist_ok=True)
    for name in ONLY.value or ROWS:
        if ROWS[name].tokens and not (keep / f"{name}-estimate.json").exists():
            plan(name, keep / f"{name}-estimate.json", "--estimate")
        if not (keep / f"{name}.json").exists() and not ESTIMATE.value:
            plan(name, keep / f"{name}.json")
    estimated, compiled = _read(keep, "-estimate"), _read(keep, "")
    page = tables.replace(PAGE.read_text(), "plan_memory", memory_table(compiled))
    with storage.whole(PAGE) as partial:
        partial.write_text(tables.replace(page, "plan_time", time_table(estimated, compiled)))
    print(
        f"{PAGE.name} has compiled {', '.join(compiled)}; not there: {', '.join(set(ROWS) - set(compiled)) or 'none'}"
    )


if __name__ == "__main__":
    app.run(main)
