"""No objective is left out: of the documentation, of the benchmarks, of the configs that train it."""

import importlib
import pathlib
import re

from benchmarks.experiments import ALL
from cloze import objectives

ROOT = pathlib.Path(__file__).parents[2]


def test_benchmarks_train_every_objective():
    trained = set()
    for name in ALL:
        stem, _, arguments = name.split()[0].partition(":")
        config = importlib.import_module(f"cloze.configs.{stem}").get_config(
            ",".join(filter(None, ("tiny", arguments)))
        )
        trained.add(config.objective.name)
    assert trained == set(objectives.OBJECTIVES)


def test_the_documentation_lists_every_objective_and_no_other():
    text = (ROOT / "docs" / "objectives.md").read_text()
    table = text[text.index("| `objective.name`") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table.split("\n", 2)[2], re.MULTILINE)) == set(objectives.OBJECTIVES)
