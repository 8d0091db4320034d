"""The documentation names files that are there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:[a-z_]+/)+(?:NAME\.py|[a-z0-9_]+\.py)?|[a-z_]+\.py)`")
IN_A_RUN = (
    "tensorboard/",
    "launch/",
    "checkpoints/",
    "checkpoints/damaged/",
    "checkpoints/rewound/",
    "tokenizer/",
    "profile/",
)  # folders of a run's directory


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page):
    for path in set(PATH.findall(page.read_text())) - set(IN_A_RUN):
        path = path.removesuffix("NAME.py")
        places = [ROOT / path] if "/" in path else [ROOT / path, *ROOT.glob(f"*/{path}")]
        assert any(place.exists() for place in places), f"{page.name} names {path}"


def test_the_table_of_changes_has_twenty_and_more():
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Which file to open")[1]
    assert len(re.findall(r"^\| .* \| .*`[a-z_/.NAME]+`.*\|$", table, re.MULTILINE)) > 20
