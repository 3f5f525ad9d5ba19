import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from sdd_jax import saliency
from sdd_jax.reports import table

METHODS = ("sdd", "cam", "random_map", "random_pixels", "centre")
METRICS = (
    "confidence_drop",
    "confidence_drop_signed",
    "confidence_drop_points",
    "prediction_change",
)


def nested(methods, estimate):
    """Fill the schema with estimate(0), estimate(1), ..."""
    count = iter(range(1000))
    return {
        method: {
            fill: {
                scheme: {metric: estimate(next(count)) for metric in METRICS}
                for scheme in ("deletion", "retention")
            }
            for fill in ("black", "mean")
        }
        for method in methods
    }


def made_up(i):
    return {"value": i + 0.26, "low": i - 1.5, "high": i + 2.74}


METRICS_JSON = {
    "methods": nested(METHODS, made_up),
    "difference_to_sdd": nested(METHODS[1:], made_up),
    "correctly_classified": {"num_images": 197, "methods": nested(METHODS, made_up)},
    "accuracy": {"value": 98.5, "low": 96.5, "high": 100.0},
    "num_images": 200,
    "protocol": {"config": {"data": {"source": "orl"}}},
}


def text(renderable, width=80, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width).print(renderable)
    file.seek(0)
    return file.read()


def block(page, fill):
    """Return the rows under one fill."""
    return page.partition(f"{fill} fill")[2].partition("\n  ")[0]


@pytest.mark.parametrize("width", [80, 120])
def test_table_1_shows_every_figure_with_its_interval(width):
    page = text(table.table_1(METRICS_JSON), width)
    assert max(len(line) for line in page.splitlines()) <= width
    assert "…" not in page
    # A method takes 16 of the made-up numbers: 8 a fill, 4 a scheme, 4 metrics.
    for i in (j + k for j in range(0, 80, 4) for k in (0, 3)):
        assert re.search(rf"(?<![\d.]){i}\.3(?!\d)", page)
        assert f"{i - 1.5:.1f} to {i + 2.7:.1f}" in page


def test_a_row_of_table_1_by_hand():
    lines = text(table.table_1(METRICS_JSON)).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith(" CAM"))
    assert lines[row].split() == ["CAM", "16.3", "19.3", "20.3", "23.3"]


def test_the_paper_stands_under_its_two_methods_and_black_fill_only():
    lines = [line.split() for line in text(table.table_1(METRICS_JSON)).splitlines()]
    paper = [i for i, words in enumerate(lines) if words[:3] == ["in", "the", "paper"]]
    assert [lines[i][3:] for i in paper] == [
        ["62.33", "51.36", "-", "-"],
        ["42.50", "29.73", "-", "-"],
    ]
    assert lines[paper[0] - 2][0] == "SDD"
    assert lines[paper[1] - 2][:2] == ["random", "map"]
    assert paper[1] < lines.index(["mean", "fill"])


@pytest.mark.parametrize(
    ("source", "has_paper"),
    [("orl", True), ("facescrub", True), ("folder", False), ("lfw", False)],
)
def test_the_papers_figures_stand_beside_two_sources_only(source, has_paper):
    protocol = {"config": {"data": {"source": source}}}
    page = " ".join(text(table.table_1(METRICS_JSON | {"protocol": protocol})).split())
    for said in ("62.33", "42.50", "in the paper", "4,494 images", "96.33 %"):
        assert (said in page) == has_paper
    note = (
        "The paper's figures stand beside facescrub and orl images only; these are "
        f"from data.source={source}."
    )
    assert (note in page) != has_paper
    assert "temperature" in page


def test_methods_go_by_the_readmes_names():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    figures = r"\| [\d.]+ / [\d.]+ "
    pattern = rf"^\| ([^|(]+?) (?:\(.*\) )?{figures}{figures}\|"
    rows = re.findall(pattern, readme, re.M)
    assert set(rows) == {table.method_name(name) for name in METHODS}


def test_every_method_has_a_name_of_its_own_for_people():
    assert set(saliency.METHODS) < set(table.METHOD_NAMES)
    assert len(set(table.METHOD_NAMES.values())) == len(table.METHOD_NAMES)


def test_table_1_says_what_cannot_be_compared():
    page = " ".join(text(table.table_1(METRICS_JSON)).split())
    assert "98.5 % (96.5 to 100.0)" in page
    assert "Where data or network differ, only the order" in page
    assert "temperature" in page
    assert "cannot be compared between heads" in page


def test_table_1_of_the_correctly_classified_counts_them():
    page = text(table.table_1(METRICS_JSON | METRICS_JSON["correctly_classified"]))
    assert "197 test images" in page


def test_a_method_without_a_display_name_goes_by_its_own():
    page = text(table.table_1(METRICS_JSON | {"methods": nested(["new[b]"], made_up)}))
    assert "new[b]" in page


@pytest.mark.parametrize(
    ("low", "high", "marked"),
    [(0.1, 9.0, True), (-9.0, -0.1, True), (-0.1, 9.0, False), (0.0, 9.0, False)],
)
def test_differences_mark_intervals_that_exclude_0(low, high, marked):
    metrics = {
        "difference_to_sdd": nested(
            ["cam"], lambda _: {"value": 4.0, "low": low, "high": high}
        )
    }
    page = text(table.differences(metrics))
    assert page.count("* +4.0") == (8 if marked else 0)
    assert page.count("+4.0") == 8


def test_differences_are_shown_for_every_other_method():
    page = text(table.differences(METRICS_JSON))
    for name in ("CAM", "random map", "random pixels", "centred Gaussian"):
        assert f"\n {name} " in page


@pytest.mark.parametrize("width", [60, 80])
def test_the_widest_figures_are_wrapped_and_not_cut(width):
    widest = {"value": -100.0, "low": -100.0, "high": -100.0}
    metrics = {"difference_to_sdd": nested(METHODS[1:], lambda _: widest)}
    page = text(table.differences(metrics), width)
    assert "…" not in page
    assert page.count("-100.0") == 3 * 4 * 2 * 4  # figures, methods, fills, columns


def test_tables_print_on_a_terminal_without_unicode():
    for renderable in (
        table.table_1(METRICS_JSON),
        table.differences(METRICS_JSON),
        table.results("Training", {"loss": 0.5}),
    ):
        assert text(renderable, encoding="ascii").isascii()


def test_results_shows_whole_numbers_exactly_and_others_to_four_digits():
    numbers = {"step": 12000, "loss": 0.0123456, "saved": True, "best [b]": "a/b"}
    page = text(table.results("Training [x]", numbers))
    rows = [line.split() for line in page.splitlines() if line.strip()]
    assert rows == [
        ["Training", "[x]"],
        ["step", "12,000"],
        ["loss", "0.01235"],
        ["saved", "True"],
        ["best", "[b]", "a/b"],
    ]


def test_any_metric_may_be_a_column_in_either_table():
    columns = [("deletion", metric) for metric in METRICS]
    for page in (
        text(table.table_1(METRICS_JSON, columns)),
        text(table.differences(METRICS_JSON, columns)),
    ):
        assert max(len(line) for line in page.splitlines()) <= 80
        assert "signed %" in page and "points" in page and "points %" not in page
    row = next(line for line in page.splitlines() if line.startswith(" CAM"))
    assert row.split() == ["CAM", "+0.3", "+1.3", "*", "+2.3", "*", "+3.3"]


def test_the_paper_has_no_figure_of_other_metrics():
    columns = [("deletion", "confidence_drop_signed"), ("deletion", "confidence_drop")]
    page = text(table.table_1(METRICS_JSON, columns))
    paper = next(line for line in page.splitlines() if "in the paper" in line)
    assert paper.split()[3:] == ["-", "62.33"]
