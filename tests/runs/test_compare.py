import csv
import json
import shutil

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES
from sdd_jax.runs import compare, compared

METHODS = ["cam", "random_map", "mean_map"]
METRICS = {
    *("srg", "insertion_auc", "deletion_auc", "specificity"),
    *("confidence_drop", "prediction_change"),
    *("retention_confidence_drop", "retention_prediction_change"),
    *("average_drop", "increase", "average_gain", "infidelity", "max_sensitivity"),
    *("edge_length", "gini", "half_mass_area"),
}
COSTS = {"forward_passes", "images_per_second", "flat_maps", "num_images"}


@pytest.fixture(scope="module")
def done(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "workdir"
    shutil.copytree(trained, folder)
    compare.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def table(done):
    return json.loads((done / "compare" / "table.json").read_text())


def test_every_method_has_every_metric_with_an_interval(table, config):
    assert list(table["methods"]) == METHODS
    for found in table["methods"].values():
        assert set(found) == METRICS | COSTS
        assert found["num_images"] == 6
        for metric in METRICS:
            for figure in found[metric].values():
                assert figure["low"] <= figure["value"] + 1e-9
                assert figure["value"] <= figure["high"] + 1e-9
        assert set(found["srg"]) == {"mean", "all"}
        assert set(found["confidence_drop"]) == {"black", "mean"}
        assert set(found["gini"]) == {"all"}
    assert set(table["differences"]) == {"random_map", "mean_map"}
    assert "p" in table["differences"]["mean_map"]["srg"]["all"]


def test_costs_are_counted(table):
    passes = {name: found["forward_passes"] for name, found in table["methods"].items()}
    # Noise needs no network, but for the number of its cells.
    assert passes.pop("random_map") < 0.1
    assert all(1 <= value < 1.1 for value in passes.values()), passes


def test_what_ignores_the_target_has_no_specificity(table):
    for figure in table["methods"]["random_map"]["specificity"].values():
        assert figure == {"value": 0, "low": 0, "high": 0}
    assert table["methods"]["cam"]["specificity"]["all"]["value"] != 0


def test_all_files_are_there(done, table):
    folder = done / "compare"
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == set(METHODS)
    assert (folder / "table.md").read_text().startswith("| ")
    curves = json.loads((folder / "curves.json").read_text())
    curve = curves["methods"]["cam"]["mean"]["deletion"]
    assert curves["fractions"][0] == 0 and curves["fractions"][-1] == 1
    assert curve["value"][0] == 1 and len(curve["low"]) == len(curves["fractions"])
    area = 100 * np.trapezoid(curve["value"], curves["fractions"])
    found = table["methods"]["cam"]["deletion_auc"]["mean"]["value"]
    assert found == pytest.approx(area, rel=1e-6)
    html = (folder / "index.html").read_text()
    for path in sorted((folder / "images").iterdir()):
        assert f'src="images/{path.name}"' in html
    assert len(list((folder / "images").iterdir())) == 2 * (len(METHODS) + 1)
    assert (folder / "curves_mean.png").stat().st_size > 1000


def test_a_second_run_computes_nothing_and_says_the_same(
    done, table, config, tmp_path, monkeypatch
):
    copy = tmp_path / "workdir"
    shutil.copytree(done, copy)

    def refuse(*_, **__):
        raise AssertionError("a finished method is computed again")

    monkeypatch.setattr(compared, "class_sums", refuse)
    monkeypatch.setattr(compared, "over_split", refuse)
    monkeypatch.setattr(compared, "launch", refuse)
    again = json.loads(json.dumps(compare.run(config, copy)))
    for name in ("methods", "differences", "reference"):
        assert again[name] == table[name]


def test_a_run_that_is_killed_twice_repeats_no_finished_method(
    trained, table, make_config, tmp_path, monkeypatch
):
    """A kill is an exception here: whatever is not on disk by then is lost."""
    folder = tmp_path / "workdir"
    shutil.copytree(trained, folder)
    began = []
    own = compared.Comparison._part

    def part(self, chunk, explain, **how):
        began.append(len(began))
        if len(began) in (2, 4):
            raise KeyboardInterrupt
        return own(self, chunk, explain, **how)

    monkeypatch.setattr(compared.Comparison, "_part", part)
    config = make_config({})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare.run(config, folder)
        assert not (folder / "compare").exists()
    again = compare.run(config, folder)
    # Three methods, and two that were not finished.
    assert len(began) == 3 + 2
    for name in METHODS:
        for metric in METRICS:
            assert again["methods"][name][metric] == table["methods"][name][metric]


def test_chosen_images_are_evenly_spaced():
    image_set = SOURCES["synthetic"](
        image_size=32, seed=0, num_identities=3, num_images=6
    )["train"]
    chosen = compare.spread(image_set, 3)
    last = len(image_set) - 1
    assert chosen.files == tuple(image_set.files[i] for i in (0, round(last / 2), last))
    assert compare.spread(image_set, 0).files == image_set.files
    ordered = compare.spread_first(image_set, 3)
    assert ordered.files[:3] == chosen.files
    assert sorted(ordered.files) == sorted(image_set.files)
    np.testing.assert_array_equal(ordered.read(2), image_set.read(last))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"reference": "lime"},
            "^compare.reference is 'lime': expected one of compare",
        ),
        ({"mean_map_of": "x"}, "^compare.mean_map_of is 'x': expected one of compare"),
        ({"methods": ("gradcam",)}, "^unknown method 'gradcam'"),
        ({"fills": ("red",)}, "^unknown fill 'red'"),
        ({"curves": ()}, "there is no fill|no fill|at least one"),
        ({"split": "exam"}, "^compare.split is 'exam', which has no images"),
        ({"num_images": -1}, "^compare.num_images is -1, expected a whole number"),
        ({"costly": -1.0}, "^compare.costly is -1.0, expected"),
    ],
)
def test_what_makes_no_sense_is_refused(workdir_copy, make_config, overrides, message):
    settings = {f"compare.{name}": value for name, value in overrides.items()}
    with pytest.raises(InputError, match=message):
        compare.run(make_config(settings), workdir_copy)
    assert not (workdir_copy / "compare").exists()
