"""Plans held to what the compiler needs and to what others have published; writes tables of docs/scaling.md.

    python -m benchmarks.plans --keep=runs/plans                # a minute for each row, on a machine without a TPU
    python -m benchmarks.plans --keep=runs/plans --only=bert
    python -m benchmarks.plans --keep=runs/plans --only=configs,growing    # by estimate, some seconds for each row

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

from benchmarks import config_plans, tables
from cloze import storage
from cloze.parallel import topologies

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
# Marin's Llamas of two sizes, on the tokenizer of Llama 3. Muon trained them; AdamW is planned.
_MARIN = (
    "--config=configs/llama.py:size=3_8b --topology=v5p:2x2x4 --mesh=fsdp:16 --config.data.sequence_length=4096 "
    "--config.model.remat=full --config.train.batch_size=128 --config.train.microbatches=2 --config.model.width={} "
    "--config.model.layers={} --config.model.heads={} --config.model.kv_heads={} --config.model.ffn={}"
)
_MARIN_PAGE = "github.com/marin-community/marin, experiments/speedrun/hackable_transformer_attn_sink/std_attn/{}"
_MAXTEXT = "github.com/AI-Hypercomputer/maxtext, MaxText/configs/{}/README.md"
# MaxText prints FLOP/s: 6 for each weight of a product and 12 L d S, 194.9 GFLOP for a token of its 32B.
_32B_FLOPS = 194.9e9
ROWS = {
    "bert": Row("--config=configs/bert.py:size=large --topology=v5e:4x4"),
    "t5": Row("--config=configs/t5.py:size=11b --topology=v5p:4x4x4"),
    "llama": Row("--config=configs/llama.py:size=3_8b --topology=v6e:16x16 --config.train.microbatches=2"),
    "gpt3": Row("--config=configs/gpt3.py:size=175b --topology=v5p:8x8x16"),
    "modernbert": Row("--config=configs/modernbert.py:size=large --topology=v5e:4x4 --config.train.microbatches=28"),
    **{
        f"{stem}_{size}": Row(f"--config=configs/{stem}.py:size={size} --topology={topology}")
        for stem, size, topology in (
            ("gpt2", "large", "v5p:2x2x4"),
            ("t5", "large", "v5p:2x4x4"),
            ("xlnet", "base", "v5p:4x4x4"),
            ("deberta", "base", "v5p:2x4x4"),
            ("albert", "large", "v5p:2x4x4"),
            ("bart", "base", "v5p:4x4x4"),
            ("electra", "base", "v5p:4x4x4"),
            ("gemma2", "2b", "v5p:4x4x4"),
            ("qwen3", "1.7b", "v5p:4x4x4"),
        )
    },
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
        "--config.train.microbatches=3",  # there 1: our logits are whole
        7138.89,
        "github.com/AI-Hypercomputer/tpu-recipes, training/trillium/Llama3.1-8B-MaxText/v6e-8",
    ),
    # 11,430 steps of 128 rows in 6,722 s; 20 tokens for each parameter in 73,823 s.
    "marin_300m": Row(_MARIN.format(768, 12, 12, 12, 2688), 5.9926e9 / 6722 / 16, _MARIN_PAGE.format("300m")),
    "marin_1.4b": Row(_MARIN.format(2048, 16, 16, 8, 7168), 20 * 1431e6 / 73823 / 16, _MARIN_PAGE.format("1.2b")),
}
PARTS = ("configs", "growing")  # of benchmarks.config_plans
ESTIMATE = flags.DEFINE_bool("estimate", False, "Compile nothing that is missing: estimates of published rows only.")
KEEP = flags.DEFINE_string("keep", "runs/plans", "Folder for the plans.")
ONLY = flags.DEFINE_list("only", [], f"What to plan, of {', '.join([*ROWS, *PARTS])}; empty: all.")
flags.register_validator("only", lambda names: set(names) <= {*ROWS, *PARTS}, f"known are {', '.join([*ROWS, *PARTS])}")


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
    asked = ONLY.value or [*ROWS, *PARTS]
    for name in (name for name in asked if name in ROWS):
        if ROWS[name].tokens and not (keep / f"{name}-estimate.json").exists():
            plan(name, keep / f"{name}-estimate.json", "--estimate")
        if not (keep / f"{name}.json").exists() and not ESTIMATE.value:
            plan(name, keep / f"{name}.json")
    topologies.prepare(topologies.parse(f"{config_plans.ACCELERATOR}:1"), compiles=False)
    failed = config_plans.plan_configs(keep) if "configs" in asked else {}
    if "growing" in asked:
        config_plans.plan_growing(keep)
    estimated, compiled = _read(keep, "-estimate"), _read(keep, "")
    page = PAGE.read_text()
    for name, table in (
        ("plan_memory", memory_table(compiled)),
        ("plan_time", time_table(estimated, compiled)),
        ("plan_configs", config_plans.config_table(keep)),
        ("plan_growing", config_plans.growing_table(keep)),
    ):
        page = tables.replace(page, name, table)
    with storage.whole(PAGE) as partial:
        partial.write_text(page)
    print(
        f"{PAGE.name} has compiled {', '.join(compiled)}; not there: {', '.join(set(ROWS) - set(compiled)) or 'none'}"
    )
    for name, reason in failed.items():
        print(f"{name} could not be planned: {reason}")


if __name__ == "__main__":
    app.run(main)
