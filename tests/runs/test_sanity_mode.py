import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sdd_jax import faithfulness, models, saliency, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models import inference
from sdd_jax.models.reinitialisation import reinitialised
from sdd_jax.reports import sanity_table
from sdd_jax.runs import sanity, setup, spoilt, spread
from sdd_jax.saliency.controls import wrong_classes

METHODS = ["cam", "random_map"]
LAYERS = ["head", "stage4", "stage3", "stage2", "stage1", "stem"]


@pytest.fixture(scope="module")
def done(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sanity") / "workdir"
    shutil.copytree(trained, folder)
    sanity.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def table(done):
    return json.loads((done / "sanity" / "table.json").read_text())


def test_every_method_has_every_layer_and_a_verdict(table):
    assert list(table["methods"]) == METHODS
    for found in table["methods"].values():
        for order in ("cascading", "independent"):
            assert list(found[order]) == [*LAYERS, "mean"]
        assert found["num_images"] == found["wrong_class"]["num_images"] == 6
        assert set(found["verdict"]) == {"network", "class"}
    assert table["protocol"]["controls"] == ["random_map"]
    assert "lies below 0.5" in table["protocol"]["verdict"]


def test_a_control_fails(table):
    found = table["methods"]["random_map"]
    assert found["is_control"] and not table["methods"]["cam"]["is_control"]
    assert found["verdict"] == {
        "network": "does not depend on the network",
        "class": "does not depend on the class",
    }
    for figure in (*found["cascading"].values(), found["wrong_class"]):
        assert figure["spearman"]["value"] == pytest.approx(1, abs=1e-5)


def test_the_figures_are_those_of_maps_made_one_by_one(done, table, config):
    """CAM's maps by hand: the network spoilt, then asked for the intact one's class."""
    options = config["sanity"]
    split = setup.load_splits(config, done)["test"]
    chosen = spread.spread_first(spread.spread(split, 6), options["num_costly"])
    images = jnp.asarray(np.stack([chosen.read(i) for i in range(6)]))
    model = models.load(done)
    clean = saliency.clean_pass(model, images)
    drawn, _ = method_keys(options["seed"], jnp.arange(6))

    def cam(network, targets):
        clean = saliency.clean_pass(network, images, targets)
        return saliency.METHODS["cam"](network, clean, drawn, centre=True).saliency

    intact = cam(model, clean.targets)
    key = jax.random.fold_in(jax.random.key(options["seed"]), 5)
    found = table["methods"]["cam"]
    for order, names in (("cascading", LAYERS[:3]), ("independent", ["stage3"])):
        other = cam(reinitialised(model, names, key), clean.targets)
        by_hand = faithfulness.similarity(intact, other)
        figure = found[order]["stage3"]
        assert figure["flat_maps"] == int(by_hand.is_flat.sum())
        says = ~by_hand.is_flat
        for metric in ("spearman", "ssim"):
            value = float(getattr(by_hand, metric)[says].mean())
            assert figure[metric]["value"] == pytest.approx(value, abs=2e-3)
    wrong = wrong_classes(clean.targets, drawn, model.num_classes)
    assert (wrong != clean.targets).all()
    by_hand = faithfulness.similarity(intact, cam(model, wrong))
    value = float(by_hand.spearman[~by_hand.is_flat].mean())
    assert found["wrong_class"]["spearman"]["value"] == pytest.approx(value, abs=2e-3)


def test_all_files_are_there(done, table):
    folder = done / "sanity"
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == set(METHODS)
    [row] = [
        row
        for row in rows
        if [row[x] for x in ("method", "order", "layer", "metric")]
        == ["cam", "independent", "stem", "spearman"]
    ]
    figure = table["methods"]["cam"]["independent"]["stem"]["spearman"]
    assert float(row["value"]) == figure["value"]
    said = (folder / "table.md").read_text()
    assert said.startswith("| ") and "random map\\*" in said
    assert table["methods"]["cam"]["verdict"]["class"] in said
    with Image.open(folder / "layers.png") as plot:
        assert plot.format == "PNG"


def test_a_second_run_computes_nothing_and_says_the_same(
    done, table, config, tmp_path, monkeypatch
):
    copy = shutil.copytree(done, tmp_path / "workdir")

    def refuse(*_, **__):
        raise AssertionError("a finished method is computed again")

    monkeypatch.setattr(spoilt.Spoilt, "_rows", refuse)
    again = json.loads(json.dumps(sanity.run(config, copy)))
    assert again["methods"] == table["methods"]
    shutil.rmtree(copy / "results")
    with pytest.raises(AssertionError, match="computed again"):
        sanity.run(config, copy)


def test_a_costly_method_is_seen_on_fewer_images_and_all_layers(
    workdir_copy, make_config
):
    config = make_config({"sanity.costly": 0.5, "sanity.methods": ("cam",)})
    found = sanity.run(config, workdir_copy)["methods"]["cam"]
    assert found["num_images"] == found["wrong_class"]["num_images"] == 2
    assert list(found["cascading"]) == ["stem", "mean"]
    assert "independent" not in found
    row = sanity_table.markdown(
        {"methods": {"cam": found}, "protocol": {"verdict": "so"}}
    ).splitlines()[2]
    assert row.startswith("| CAM | ") and " | - | " in row


def test_eight_devices_say_what_one_says(table, workdir_copy, make_config):
    jax.set_mesh(sharding.make_mesh(8))
    config = make_config({"sanity.methods": ("cam",)})
    found = sanity.run(config, workdir_copy)["methods"]["cam"]
    for layer in LAYERS:
        for metric in ("spearman", "ssim"):
            expected = table["methods"]["cam"]["cascading"][layer][metric]
            value = found["cascading"][layer][metric]["value"]
            assert value == pytest.approx(expected["value"], abs=2e-3)


def test_the_spoilt_networks_are_folded_and_all_different(trained):
    model = models.load(trained)
    found = spoilt.networks(model, 0, None)
    assert [layer for order, layer in found if order == "cascading"] == LAYERS
    assert found["cascading", "head"] is found["independent", "head"]
    images = jax.random.bits(jax.random.key(0), (1, 112, 112, 3), jnp.uint8)
    logits = {
        name: np.asarray(one.logits(one.feature_maps(images)))
        for name, one in (found | {"intact": inference.folded(model)}).items()
        if name != ("independent", "head")
    }
    assert len({values.tobytes() for values in logits.values()}) == len(logits) == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"methods": ("gradcam",)}, "^unknown method 'gradcam'"),
        ({"methods": ()}, "^the methods are none"),
        ({"split": "exam"}, "^sanity.split is 'exam', which has no images"),
        (
            {"threshold": 2.0},
            "^sanity.threshold is 2.0, expected a number from -1 to 1",
        ),
        ({"num_costly": 0}, "^sanity.num_costly is 0, expected a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(workdir_copy, make_config, overrides, message):
    settings = {f"sanity.{name}": value for name, value in overrides.items()}
    with pytest.raises(InputError, match=message):
        sanity.run(make_config(settings), workdir_copy)
    assert not (workdir_copy / "sanity").exists()
