"""Tables for a narrow terminal: names may break, figures never."""

import io

import pytest
from rich.console import Console

from sdd_jax.reports import text

ONE = {"value": -0.04, "low": -12.345, "high": 1.5}


def shown(table, width=80):
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "0.0 [-12.3, 1.5]"),
        ({"digits": 2}, "-0.04 [-12.35, 1.50]"),
        ({"ends": 0, "between": "\n"}, "0.0\n[-12, 2]"),
        ({"sign": "+"}, "+0.0 [-12.3, +1.5]"),
    ],
)
def test_a_figure_comes_with_its_interval(how, expected):
    assert text.figure(ONE, **how) == expected


def test_there_is_a_dash_where_there_is_no_figure():
    assert text.figure(None) == text.figure({}) == "-"


def test_markdown_has_a_line_a_row_and_no_column_too_many():
    lines = text.markdown([["", "a"], ["F = |S|", "1"]]).splitlines()
    assert lines == ["|  | a |", "| --- | --- |", "| F = \\|S\\| | 1 |"]


@pytest.mark.parametrize("number", [5, 11])
def test_names_are_folded_and_figures_are_whole(number):
    cells = [f"-{i}1.2\n[-9, 9]" if number == 5 else f"-{i}.2" for i in range(number)]
    name = "a_name_of_a_method_that_goes_over_several_lines_" + 30 * "x"
    rows = [["", *("drop, black" for _ in cells)], ["group"], [name, *cells]]
    said = shown(text.terminal("title", rows, "what it says"))
    assert (
        "\N{HORIZONTAL ELLIPSIS}" not in said and max(map(len, said.split("\n"))) <= 80
    )
    for cell in cells:
        for part in cell.split("\n"):
            assert part in said
    letters = "".join(
        line.split(" ")[1] for line in said.splitlines() if line[1:2].strip()
    )
    assert name in letters and "what it says" in said and "group" in said


def test_values_with_a_comma_stay_one_value():
    assert text.csv([["a", "b"], ["x, y", 0.5]]) == 'a,b\n"x, y",0.5\n'


def test_text_at_the_end_may_break():
    rows = [["", "n", "verdict"], ["a", "1", "depends " + 30 * "on it "]]
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown(text.terminal("t", rows, "", words=1))
