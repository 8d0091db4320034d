"""Plans held to what the compiler needs and to what others have published; writes both tables of docs/scaling.md.

    python -m benchmarks.plans --keep=runs/plans                # minutes for each row, on a machine without a TPU
    python -m benchmarks.plans --keep=runs/plans --only=bert

Each row is a command of `plan.py`, whose JSON stays in --keep; a row that lies there is not planned again. Rows that
are not there are left out of the page, and the command says which. pip install -e '.[plan]' first.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

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
    "modernbert": Row("--config=configs/modernbert.py:size=large --topology=v5e:4x4"),
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
KEEP = flags.DEFINE_string("keep", "runs/plans", "Folder for the plans.")
ONLY = flags.DEFINE_list("only", [], f"Rows to plan, of {', '.join(ROWS)}; empty: all.")
flags.register_validator("only", lambda names: set(names) <= ROWS.keys(), f"known are {', '.join(ROWS)}")


def plan(name, file):
    """Plans a row into a file."""
    command = [sys.executable, str(ROOT / "plan.py"), *ROWS[name].arguments.split(), f"--json={file}"]
    print(" ".join(command), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        print(f"{name}: failed, its row is left out", flush=True)


def memory_table(found):
    """Estimate beside what the compiler needs; `found` are {row: plan as JSON}."""
    lines = [tables.heading(), tables.head("plan.py", "estimate, GiB", "compiled, GiB", "off by")]
    for name, made in found.items():
        estimate, compiled = made["memory"]["estimate"]["peak"], made["memory"]["compiled"]
        command = f"`{ROWS[name].arguments}`".replace("--config=configs/", "")
        if compiled is None:
            lines.append(tables.row(command, f"{estimate / GIB:.2f}", f"refused: {made['refused']}", "-"))
            continue
        off = estimate / compiled["peak"] - 1
        lines.append(
            tables.row(command, f"{estimate / GIB:.2f}", f"{compiled['peak'] / GIB:.2f}", f"{100 * off:+.0f}%")
        )
    return "\n".join(lines)


def time_table(found):
    """Predicted beside published rates."""
    columns = ("published, tokens/s a chip", "predicted", "off by", "MFU predicted", "bound by", "source")
    lines = [tables.head("row", *columns)]
    for name, made in found.items():
        row = ROWS[name]
        if not row.tokens or "seconds" not in made:
            continue
        predicted = made["tokens_per_second"] / made["chips"]
        lines.append(
            tables.row(
                f"{name} on {made['topology']}", f"{row.tokens:,.0f}", f"{predicted:,.0f}",
                f"{100 * (predicted / row.tokens - 1):+.0f}%", f"{100 * made['published_mfu']:.1f}%", made["bound"],
                row.source,
            )
        )  # fmt: skip
    return "\n".join(lines)


def main(argv):
    """Plans what is missing and writes the page."""
    del argv
    keep = pathlib.Path(KEEP.value).absolute()
    keep.mkdir(parents=True, exist_ok=True)
    for name in ONLY.value or ROWS:
        if not (keep / f"{name}.json").exists():
            plan(name, keep / f"{name}.json")
    found = {name: json.loads(file.read_text()) for name in ROWS if (file := keep / f"{name}.json").exists()}
    page = tables.replace(PAGE.read_text(), "plan_memory", memory_table(found))
    with storage.whole(PAGE) as partial:
        partial.write_text(tables.replace(page, "plan_time", time_table(found)))
    print(f"{PAGE.name} has {', '.join(found)}; not there: {', '.join(set(ROWS) - set(found)) or 'none'}")


if __name__ == "__main__":
    app.run(main)
