"""The comparison's table, plot and page."""

import csv
import io

import pytest
from PIL import Image
from rich.console import Console

from sdd_jax.reports import compare_page, compare_plot, compare_table
from sdd_jax.reports.table import METHOD_NAMES, method_name


def figure(value):
    return {"value": value, "low": value - 1, "high": value + 1}


def method(gain, **more):
    found = {
        "srg": {"all": figure(gain), "mean": figure(gain)},
        "specificity": {"all": figure(gain / 2)},
        "confidence_drop": {"black": figure(50.0), "mean": figure(40.0)},
        "edge_length": {"all": figure(200.0)},
        "forward_passes": 1.25,
        "images_per_second": 99.5,
        "flat_maps": 3,
        "num_images": 120,
    }
    return found | more


RESULT = {
    "methods": {
        "cam": method(20.0),
        "sdd": method(30.0),
        "<b>x": method(0.0, srg={}, specificity={}),
    },
    "protocol": {"num_images": 120, "split": "test"},
}


def test_the_largest_srg_comes_first_and_none_last():
    assert compare_table.ranked(RESULT) == ["sdd", "cam", "<b>x"]


def test_markdown_has_a_row_a_method():
    lines = compare_table.markdown(RESULT).splitlines()
    assert lines[0].startswith("| ") and lines[0].endswith(" images |")
    assert lines[2].startswith(f"| {method_name('sdd')} | 30.0 [29.0, 31.0] | 15.0 ")
    assert lines[2].endswith("| 1.25 | 99.5 | 3 | 120 |")
    assert lines[4].startswith("| <b>x | - | - |")


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_on_a_narrow_terminal_no_figure_is_cut(name):
    worst = {"value": -100.0, "low": -123.4, "high": 100.0}
    wide = method(0.0, forward_passes=1001.0, flat_maps=4494)
    for metric in ("srg", "specificity", "confidence_drop"):
        wide[metric] = dict.fromkeys(("all", "black", "mean"), worst)
    file = io.StringIO()
    table = compare_table.summary({"methods": {name: wide}})
    Console(file=file, width=80).print(table)
    said = file.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    assert said.count("[-123, 100]") == 4
    assert "1001.00" in said and "4494" in said and "specificity" in said


def test_csv_has_every_figure():
    rows = list(csv.DictReader(io.StringIO(compare_table.csv(RESULT))))
    first = rows[0]
    assert (first["method"], first["metric"], first["fill"]) == ("sdd", "srg", "all")
    assert [float(first[x]) for x in ("value", "low", "high")] == [30, 29, 31]
    costs = [row for row in rows if row["metric"] == "forward_passes"]
    assert [float(row["value"]) for row in costs] == [1.25] * 3


def test_the_plot_is_an_image():
    curve = {"value": [1, 0.5, 0], "low": [1, 0.4, 0], "high": [1, 0.6, 0]}
    methods = {"sdd": {"mean": {"deletion": curve, "retention": curve}}}
    file = compare_plot.curves(methods, [0.0, 0.5, 1.0], "mean")
    image = Image.open(io.BytesIO(file))
    assert image.format == "PNG" and image.width > 800


def test_the_page_shows_all_and_trusts_no_name():
    names = compare_table.ranked(RESULT)
    images = {name: f"images/0_{i}.png" for i, name in enumerate(["image", *names])}
    gallery = [{"file": "<script>s1/7.pgm", "images": images}]
    html = compare_page.render(RESULT, gallery, {"mean": "curves_mean.png"})
    assert "<b>x" not in html and "&lt;b&gt;x" in html
    assert "<script>" not in html
    for path in (*images.values(), "curves_mean.png"):
        assert f'src="{path}"' in html
    assert html.count('loading="lazy"') == 5
    assert METHOD_NAMES["cam"] in html
