"""Tables of measurements get into the page, and nothing else of it changes."""

import pathlib

import pytest

from benchmarks import all as every
from benchmarks import tables

PAGE = (
    "# A\n\nbefore\n<!-- begin: one -->\nold\n<!-- end: one -->\nbetween\n<!-- begin: two -->\n<!-- end: two -->\nend\n"
)


def test_the_text_between_markers_is_replaced_and_the_rest_stays():
    page = tables.replace(PAGE, "one", "\n| a |\n|---|\n| \\1 |\n")
    assert page == PAGE.replace("old", "| a |\n|---|\n| \\1 |")
    assert tables.replace(page, "one", "old") == PAGE
    assert tables.replace(PAGE, "two", "x") == PAGE.replace("two -->\n<", "two -->\nx\n<")


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace("<!-- end: one -->", ""),
        PAGE.replace("<!-- begin: one -->", ""),
        PAGE + PAGE,
        "<!-- end: one -->\n<!-- begin: one -->\n",
    ],
)
def test_a_page_without_one_pair_of_markers_is_refused(page):
    with pytest.raises(ValueError, match="begin: one"):
        tables.replace(page, "one", "new")


def test_text_with_its_own_markers_is_refused():
    with pytest.raises(ValueError, match="own markers"):
        tables.replace(PAGE, "one", "<!-- end: one -->")


def test_the_page_has_a_place_for_every_benchmark_and_no_other():
    page = every.PAGE.read_text()
    for name, command in every.COMMANDS.items():
        tables.replace(page, name, "")
        assert (pathlib.Path(every.__file__).parent / f"{command.split()[0]}.py").is_file()
    assert page.count("<!-- begin: ") == len(every.COMMANDS)


def test_a_table_has_as_many_rules_as_columns():
    assert tables.head("a", "b") == "| a | b |\n|---|---|"
    assert tables.row("a", None, 1.5) == "| a |  | 1.5 |"
