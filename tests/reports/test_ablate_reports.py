"""The table and plot of SDD's choices."""

import csv
import io

from PIL import Image

from sdd_jax.reports import ablate_plot, ablate_table


def figure(value, **more):
    return {"value": value, "low": value - 1, "high": value + 1} | more


def row(value):
    found = {"srg": {"all": figure(value)}, "specificity": {"all": figure(value / 2)}}
    found["edge_length"] = {"all": figure(321.0)}
    return found | masked(value)


def masked(value):
    names = ("confidence_drop", "prediction_change")
    return {
        f"{scheme}{name}": {"black": figure(value + 1), "mean": figure(value + 2)}
        for scheme in ("", "retention_")
        for name in names
    } | {"flat_maps": 3}


RESULT = {
    "methods": {"default": row(20.0), "F = 50": row(10.0), "fraction 5%": masked(5.0)},
    "differences": {"F = 50": {"srg": {"all": figure(-10.0, p=0.01)}}},
    "groups": {
        "scale": {"F = 50": "F = 50", "F = |S|": "default"},
        "fraction": {"5%": "fraction 5%", "20%": "default"},
    },
    "findings": ["scale: F = 50 differs"],
    "left_out": ["20 classes compared are left out: the data have 6"],
    "num_images": 7,
}


def test_markdown_has_a_row_a_choice_in_two_tables():
    lines = ablate_table.markdown(RESULT).splitlines()
    assert lines.count("| **scale** |  |  |  |  |  |  |  |") == 1
    assert (
        "| F = 50 | 10.0 [9.0, 11.0] | -10.0 [-11.0, -9.0] | 5.0 [4.0, 6.0] "
        "| 11.0 / 11.0 | 12.0 / 12.0 | 321 | 3 |"
    ) in lines
    assert "| 5% | - | - | - | 6.0 / 6.0 | 7.0 / 7.0 | - | 3 |" in lines
    assert sum(line.startswith("| F = \\|S\\| (default) |") for line in lines) == 2
    assert "| 5% | 6.0 / 6.0 | 7.0 / 7.0 |" in lines
    for said in (*RESULT["findings"], *RESULT["left_out"]):
        assert f"- {said}" in lines


def test_csv_has_every_figure_and_its_difference():
    rows = list(csv.DictReader(io.StringIO(ablate_table.csv(RESULT))))
    [srg] = [row for row in rows if (row["choice"], row["metric"]) == ("F = 50", "srg")]
    assert (float(srg["value"]), float(srg["difference_value"])) == (10, -10)
    assert float(srg["difference_p"]) == 0.01
    [own] = [
        row for row in rows if (row["choice"], row["metric"]) == ("F = |S|", "srg")
    ]
    assert own["difference_value"] == ""
    assert {row["parameter"] for row in rows} == {"scale", "fraction"}


def test_the_terminals_table_has_a_row_a_choice_and_a_parameter():
    assert ablate_table.summary(RESULT).row_count == 4 + 2


def test_the_plot_leaves_out_what_a_choice_has_not():
    with Image.open(io.BytesIO(ablate_plot.choices(RESULT))) as plot:
        assert plot.format == "PNG" and plot.width > plot.height
