"""The sanity checks' table and plot."""

import csv
import io

from PIL import Image

from sdd_jax.reports import sanity_plot, sanity_table


def figure(value, flat=1):
    one = {"value": value, "low": value - 0.1, "high": value + 0.1}
    return {"flat_maps": flat, "num_images": 9, "spearman": one, "ssim": one}


NONE = {"flat_maps": 9, "num_images": 9}
VERDICT = {"network": "depends on the network", "class": "cannot be said: 9 of 9"}


def found(**more):
    result = {
        "cascading": {
            "head": figure(0.8),
            "stem": figure(-0.004, flat=2),
            "mean": figure(0.4),
        },
        "independent": {"head": figure(0.8), "stem": NONE, "mean": figure(0.8)},
        "wrong_class": NONE,
        "verdict": VERDICT,
        "num_images": 9,
        "forward_passes": 1.0,
        "is_control": False,
    }
    return result | more


RESULT = {
    "methods": {
        "cam": found(),
        "sobel": found(
            is_control=True,
            cascading={"stem": figure(1.0), "mean": figure(1.0)},
            wrong_class=figure(1.0),
        ),
    },
    "protocol": {"verdict": "so says the rule"},
}
del RESULT["methods"]["sobel"]["independent"]


def test_markdown_says_of_each_method_what_it_depends_on():
    lines = sanity_table.markdown(RESULT).splitlines()
    assert lines[2] == (
        "| CAM | 0.00 [-0.10, 0.10] | 0.00 [-0.10, 0.10] | 0.40 [0.30, 0.50] | - | - "
        "| 2, 9 | 9 | depends on the network | cannot be said: 9 of 9 |"
    )
    # Of one network alone, the mean of layers would say the same once more.
    assert lines[3].startswith("| Sobel edges\\* | 1.00 [0.90, 1.10] | 1.00 ")
    assert lines[3].split(" | ")[3] == "-"
    assert "Verdict: so says the rule." in lines[-1]


def test_csv_has_every_figure_and_verdict():
    rows = list(csv.DictReader(io.StringIO(sanity_table.csv(RESULT))))
    cam = [row for row in rows if row["method"] == "cam"]
    [one] = [
        row
        for row in cam
        if [row[x] for x in ("order", "layer", "metric")]
        == ["cascading", "stem", "spearman"]
    ]
    assert float(one["value"]) == -0.004
    assert float(one["low"]) == -0.004 - 0.1
    assert {row["metric"] for row in cam if row["layer"] == "class"} == {
        "cannot be said: 9 of 9"
    }
    flat = [row for row in cam if row["order"] == "wrong_class"]
    assert {row["metric"]: row["value"] for row in flat} == {
        "flat_maps": "9",
        "num_images": "9",
    }


def test_the_plot_takes_what_has_no_figure():
    one = sanity_plot.layers({"cam": RESULT["methods"]["cam"]})
    more = sanity_plot.layers(dict.fromkeys("abcdef", RESULT["methods"]["sobel"]))
    sizes = []
    for file in (one, more):
        with Image.open(io.BytesIO(file)) as plot:
            sizes.append(plot.size)
    assert sizes[1][1] > sizes[0][1]  # six methods take two rows


def test_the_terminals_table_has_a_row_a_method():
    assert sanity_table.summary(RESULT).row_count == 2
