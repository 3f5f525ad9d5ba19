import csv
import json
import shutil

import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.runs import ablate, evaluate
from sdd_jax.runs.split_outcomes import Programs

MASKED = {
    f"{scheme}{metric}"
    for scheme in ("", "retention_")
    for metric in ("confidence_drop", "prediction_change")
}
CURVES = {"srg", "insertion_auc", "deletion_auc", "specificity", "edge_length"}


@pytest.fixture(scope="module")
def done(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablated") / "workdir"
    shutil.copytree(trained, folder)
    ablate.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def table(done):
    return json.loads((done / "ablate" / "table.json").read_text())


def test_every_choice_has_every_measure(table):
    assert list(table["groups"]) == ["num_classes_compared", "fraction"]
    for group, rows in table["groups"].items():
        for row in rows.values():
            found = table["methods"][row]
            more = CURVES if group != "fraction" or row == "default" else set()
            assert set(found) == MASKED | more | {"flat_maps"}
            assert set(found["confidence_drop"]) == {"black", "mean"}
            if row != "default":
                assert table["differences"][row].keys() == MASKED | more
    assert table["left_out"] == [
        f"{number} classes compared are left out: the data have 6"
        for number in (10, 20)
    ]
    assert any(line.startswith("competing classes: ") for line in table["findings"])
    assert len(table["findings"]) == 2


def test_the_defaults_figures_are_those_of_the_evaluation(
    done, table, make_config, tmp_path
):
    """The same images in another mode, by other programs."""
    copy = shutil.copytree(done, tmp_path / "workdir")
    found = evaluate.run(make_config({"eval.methods": ("sdd",)}), copy)
    assert found["num_images"] == table["num_images"]
    for fill, orders in found["methods"]["sdd"].items():
        for order, scheme in (("deletion", ""), ("retention", "retention_")):
            for metric in ("confidence_drop", "prediction_change"):
                own = table["methods"]["default"][f"{scheme}{metric}"][fill]["value"]
                expected = orders[order][metric]["value"]
                assert own == pytest.approx(expected, abs=1e-3)
    less = table["differences"]["fraction 50%"]["confidence_drop"]["black"]["value"]
    one, other = (
        table["methods"][row]["confidence_drop"]["black"]["value"]
        for row in ("fraction 50%", "default")
    )
    assert less == pytest.approx(one - other, abs=1e-6) != 0


def test_all_files_are_there(done, table):
    folder = done / "ablate"
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert {row["parameter"] for row in rows} == set(table["groups"])
    [row] = [
        row
        for row in rows
        if [row[x] for x in ("choice", "metric", "fill")] == ["2 classes", "srg", "all"]
    ]
    assert float(row["value"]) == table["methods"]["2 classes"]["srg"]["all"]["value"]
    less = table["differences"]["2 classes"]["srg"]["all"]
    assert float(row["difference_value"]) == less["value"]
    assert float(row["difference_p"]) == less["p"]
    said = (folder / "table.md").read_text()
    assert "| 5 classes (default) | " in said and "**fraction**" in said
    for line in (*table["findings"], *table["left_out"]):
        assert f"- {line}\n" in said
    with Image.open(folder / "choices.png") as plot:
        assert plot.format == "PNG"


def test_a_second_run_computes_nothing_and_says_the_same(
    done, table, config, tmp_path, monkeypatch
):
    copy = shutil.copytree(done, tmp_path / "workdir")

    def refuse(*_, **__):
        raise AssertionError("a finished choice is computed again")

    monkeypatch.setattr(Programs, "_explain", refuse)
    again = json.loads(json.dumps(ablate.run(config, copy)))
    for name in ("methods", "differences", "groups", "findings"):
        assert again[name] == table[name]
    # What a killed run had not finished is all that is computed.
    newest = max((copy / "results").rglob("*.npz"), key=lambda x: x.stat().st_mtime)
    newest.unlink()
    with pytest.raises(AssertionError, match="computed again"):
        ablate.run(config, copy)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"parameters": ("alpha",)}, "^unknown parameter 'alpha'"),
        ({"fills": ("red",)}, "^unknown fill 'red'"),
        ({"curves": ()}, "^the fills are none: expected at least one"),
        ({"split": "exam"}, "^ablate.split is 'exam', which has no images"),
        ({"margin": -1.0}, "^ablate.margin is -1.0, expected a number from 0 to 100"),
        ({"fraction": 1.0}, "^ablate.fraction is 1.0, expected a number between 0"),
    ],
)
def test_what_makes_no_sense_is_refused(workdir_copy, make_config, overrides, message):
    settings = {f"ablate.{name}": value for name, value in overrides.items()}
    with pytest.raises(InputError, match=message):
        ablate.run(make_config(settings), workdir_copy)
    assert not (workdir_copy / "ablate").exists()
