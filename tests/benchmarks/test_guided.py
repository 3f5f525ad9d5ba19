import copy
import json

import numpy as np
import pytest

from benchmarks import guided, guided_cost
from sdd_jax.runs import train

VARIANTS = {
    "plain": guided.VARIANTS["plain"],
    "cam_energy": guided.VARIANTS["cam_energy"],
    "erase": guided.Variant(
        {"guidance.erase": None, "guidance.detach": False}, (0.3,), needs_regions=False
    ),
}


@pytest.fixture
def bases():
    from configs import smoke

    faces = smoke.get_config()
    faces.train.update(steps=2, validate_every=2)
    shortcut = copy.deepcopy(faces)
    shortcut.data = dict(
        source="shortcut",
        of="synthetic",
        num_identities=6,
        num_images=10,
        num_marked=3,
    )
    return {"faces": faces.to_dict(), "shortcut": shortcut.to_dict()}


@pytest.mark.slow
def test_tables_have_all_variants_and_nothing_is_trained_twice(
    bases, tmp_path, monkeypatch, capfd
):
    options = {"variants": VARIANTS, "batch_size": 6, "jobs": 2}
    parts = ("shortcut", "faces")
    result = guided.run(tmp_path, [0, 1], parts, bases, **options)
    shown = capfd.readouterr().out
    for name in VARIANTS:
        assert name in shown
        row = result["shortcut"]["methods"][name]
        for version in guided.shortcut.VERSIONS:
            assert 0 <= row["accuracy"][version]["value"] <= 100
        assert row["energy_cam"]["without"]["value"] == 0
    assert result["weights"]["cam_energy"] in VARIANTS["cam_energy"].weights
    assert set(result["faces"]) == {"5", "3", "2"}
    faces = result["faces"]["5"]["methods"]
    assert set(faces) == {"plain", "erase"}
    assert set(faces["erase"]["srg"]) == set(guided.METHODS)
    assert np.isfinite(faces["plain"]["calibration_error"]["value"])
    assert json.loads((tmp_path / "guided.json").read_text())["seeds"] == [0, 1]
    monkeypatch.setattr(train, "run", None)  # calling it would fail
    again = guided.run(tmp_path, [0, 1], parts, bases, **options)
    assert again["shortcut"]["methods"] == result["shortcut"]["methods"]


def test_a_variants_settings_reach_the_config():
    base = guided.base_config("shortcut")
    for name, variant in guided.VARIANTS.items():
        config = guided.configured(base, variant, variant.weights[-1], 3)
        assert config["seed"] == 3
        differs = config["train"] != base["train"]
        assert differs == (name != "plain")
    base = guided.base_config("faces")
    assert base["data"]["source"] == "orl"
    [longer] = guided.LONGER.values()
    config = guided.configured(base, longer, 0.0, 0)
    assert config["train"]["steps"] == 2 * base["train"]["steps"]
    assert config["train"]["validate_every"] == config["train"]["steps"]


def test_a_grey_square_hides_a_part_of_every_image_and_never_the_same():
    from sdd_jax.images.sources import synthetic

    test = synthetic.splits(image_size=40, seed=0, num_identities=2, num_images=10)
    image_set = test["train"]
    hidden = guided.occluded(image_set)
    masks = [
        (hidden.read(place) != image_set.read(place)).any(-1)
        for place in range(len(image_set))
    ]
    assert all(0 < mask.sum() <= 16 * 16 for mask in masks)
    assert len({mask.tobytes() for mask in masks}) > 1


@pytest.mark.slow
def test_costs_are_ratios_to_the_plain_step_of_the_same_turn(bases, monkeypatch):
    terms = {"plain": {}, "cam_energy": {"cam_energy": 1.0}}
    monkeypatch.setattr(guided_cost, "TERMS", terms)
    rows = guided_cost.measure(bases["shortcut"], 1)
    assert rows["plain"]["ratio"] == 1 and rows["cam_energy"]["ms"] > 0
    expected = rows["cam_energy"]["ms"] / rows["plain"]["ms"]
    assert rows["cam_energy"]["ratio"] == pytest.approx(expected)


def test_the_costs_are_of_every_term():
    named = {name for chosen in guided_cost.TERMS.values() for name in chosen}
    assert named - {"detach"} == set(guided_cost.guidance.WEIGHTS)
