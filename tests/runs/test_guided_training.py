"""Mode train with `train.guidance`, and the regions that it asks for."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from marked_people import MARKED_PEOPLE
from PIL import Image

from sdd_jax import checkpoints, models, sharding
from sdd_jax.errors import InputError
from sdd_jax.images.sources import shortcut
from sdd_jax.runs import asked_regions, reliance, setup, train
from sdd_jax.training import guidance

SHORTCUT = MARKED_PEOPLE | {
    "train.augmentation.masking": 0.0,
}
ALL_TERMS = {f"train.guidance.{name}": 0.5 for name in guidance.WEIGHTS}


def arrays(folder):
    return models.variables(models.load(folder, step=checkpoints.latest_step(folder)))


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def guided(make_config, tmp_path_factory):
    """Return a config with every term and the workdir it was trained in."""
    config = make_config(SHORTCUT | ALL_TERMS | {"train.guidance.every": 2})
    folder = tmp_path_factory.mktemp("guided")
    train.run(config, folder)
    return config, folder


@pytest.mark.slow
def test_every_term_is_logged_and_an_interrupted_run_ends_the_same(
    guided, tmp_path, monkeypatch
):
    config, folder = guided
    losses = set(guidance.WEIGHTS) - {"group_dro", "painted"}
    steps = [line for line in lines(folder) if line["kind"] == "train"]
    assert all(losses <= set(line) for line in steps)
    # Every second step; at the first one the head is still zero.
    penalised = [line["input_gradients"] > 0 for line in steps]
    assert penalised == [False, False, True, False, True, False]
    save = checkpoints.save

    def interrupted(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path)
    monkeypatch.undo()
    assert checkpoints.latest_step(tmp_path) == 3
    train.run(config, tmp_path)
    assert_same_bits(arrays(tmp_path), arrays(folder))
    assert lines(tmp_path) == lines(folder)


@pytest.mark.slow
def test_without_weights_the_steps_are_the_plain_ones_to_the_bit(
    make_config, trained, tmp_path
):
    idle = {"train.guidance.inside": True, "train.guidance.fraction": 0.5}
    train.run(make_config(idle), tmp_path)
    assert_same_bits(arrays(tmp_path), arrays(trained))


@pytest.mark.slow
def test_the_head_alone_is_guided_on_images_and_the_rest_stays(make_config, tmp_path):
    options = {"train.parts": "head", "train.steps": 2, "train.validate_every": 2}
    term = {"train.guidance.cam_energy": 1.0}
    plain, guided = tmp_path / "plain", tmp_path / "guided"
    train.run(make_config(SHORTCUT | options), plain)
    train.run(make_config(SHORTCUT | options | term), guided)
    one, other = arrays(plain), arrays(guided)
    assert_same_bits(one["backbone"], other["backbone"])
    assert (one["head"]["kernel"] != other["head"]["kernel"]).any()


@pytest.mark.slow
def test_a_divided_head_is_guided_as_a_whole_one(make_config, tmp_path):
    options = {"train.steps": 2, "train.validate_every": 2, "train.parts": "head"}
    names = set(guidance.WEIGHTS) - set(guidance.NEED_WHOLE_HEAD)
    terms = {f"train.guidance.{name}": 0.5 for name in names}
    terms["train.guidance.detach"] = False
    config = SHORTCUT | options | terms
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    train.run(make_config(config), whole)
    jax.set_mesh(sharding.make_mesh(4))  # of six people, so two make up the rest
    train.run(make_config(config | {"train.divide_head": True}), divided)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        *(arrays(folder)["head"] for folder in (whole, divided)),
    )
    for one, other in zip(lines(whole), lines(divided), strict=True):
        for name in one.keys() - {"kind"}:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_reliance_is_told_of_all_versions(guided):
    config, folder = guided
    names = setup.load_splits(config, folder)["train"].names
    model, _ = setup.load_model(folder, names, None)
    found = shortcut.evidence(**setup.source_arguments(config, folder))["test"]
    rows = reliance.answers(model, found, batch_size=8)
    assert tuple(rows) == shortcut.VERSIONS
    for name, version in found.items():
        row = rows[name]
        np.testing.assert_array_equal(row["labels"], version.images.labels)
        np.testing.assert_array_equal(row["bearers"], version.bearers)
        shares = [version.images.region(i).mean() for i in range(len(version.images))]
        np.testing.assert_allclose(row["mark"], shares, rtol=1e-6)
        for method in reliance.METHODS:
            energy = row[f"energy_{method}"]
            assert ((energy >= 0) & (energy <= 1)).all()
            assert not energy.any() if name == "without" else energy.any()
    images = np.stack([found["swapped"].images.read(i) for i in range(3)])
    logits = model.logits(model.feature_maps(jax.numpy.asarray(images)))
    np.testing.assert_array_equal(rows["swapped"]["prediction"][:3], logits.argmax(1))


def asked(make_config, changed):
    config = make_config(changed)
    splits = setup.load_splits(config)
    found = guidance.named(config["train"])
    return asked_regions.of(config, splits["train"], found)


def test_regions_are_the_sources_own_and_only_where_a_term_asks(make_config):
    term = {"train.guidance.cam_energy": 1.0}
    assert asked(make_config, SHORTCUT | term).region(0).shape == (112, 112)
    assert asked(make_config, SHORTCUT).region is None
    assert asked(make_config, SHORTCUT | {"train.guidance.erase": 1.0}).region is None


def test_masks_come_before_the_sources_own(make_config, tmp_path):
    own = asked(make_config, SHORTCUT | {"train.guidance.cam_energy": 1.0})
    path = tmp_path / dataclasses.replace(own).files[0]
    path.parent.mkdir(parents=True)
    white = Image.fromarray(np.full((8, 8), 255, np.uint8))
    white.save(path.with_suffix(".png"))
    given = {"train.guidance.cam_energy": 1.0, "train.guidance.masks": str(tmp_path)}
    found = asked(make_config, SHORTCUT | given)
    assert found.region(0).all() and not found.region(1).any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train.guidance.cam_energy": 1.0},
            "guidance.cam_energy looks at regions, and data.source=synthetic knows",
        ),
        (
            {"train.guidance.masks": "m", "train.guidance.parts": ("eyes",)},
            "masks is m and train.guidance.parts is eyes: expected one of them",
        ),
        (
            {"train.guidance.masks": "m", "train.guidance.erase": 1.0},
            "train.guidance.masks is given, but no term looks at regions",
        ),
        (
            {"train.guidance.parts": ("eyes",)},
            "train.guidance.parts is given, but no term looks at regions",
        ),
        (
            {"train.guidance.parts": ("eyes",), "train.guidance.sdd_energy": 1.0},
            "parts is eyes, but data.source=synthetic has no folder.*masks=FOLDER",
        ),
        (
            {"train.guidance.masks": "nowhere", "train.guidance.painted": 1.0},
            "nowhere does not exist: no mask of the .* training images",
        ),
        ({"train.guidance.cam_energy": -1.0}, "cam_energy is -1.0, expected"),
        ({"train.guidance.painted": 1.5}, "guidance.painted is 1.5, expected"),
        ({"train.guidance.fraction": 0.0}, "guidance.fraction is 0.0, expected"),
        ({"train.guidance.every": 0}, "guidance.every is 0, expected"),
        (
            {"train.guidance.consistency": 1.0, "train.divide_head": True},
            "guidance.consistency takes all classes' probabilities",
        ),
    ],
)
def test_every_bad_setting_is_named_before_anything_is_written(
    make_config, tmp_path, changed, message
):
    with pytest.raises(InputError, match=message):
        train.run(make_config(changed), tmp_path / "workdir")
    assert not list(tmp_path.glob("workdir/checkpoints"))
