"""A fine-tuned network under a new head, for the people of other data."""

import jax
import numpy as np
import pytest
from PIL import Image

from configs import lfw
from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.runs import evaluate, explain, pretrained, setup, train

PEOPLE = ("Ann_Example", "Bea_Example", "Cem_Example")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("lfw")
    draws = np.random.default_rng(0)
    for name in PEOPLE:
        (root / name).mkdir()
        for number in range(1, 11):
            pixels = draws.integers(0, 256, (250, 250, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{number:04}.jpg")
    return root


@pytest.fixture
def on_lfw(root, trained):
    config = lfw.get_config()
    config.data.update(root=str(root), min_images=10)
    config.model.backbone.update(arch="ir_tiny", dtype="float32")
    config.model.pretrained = str(trained)
    config.train.update(steps=2, batch_size=8)
    config.explain.update(num_images=2, batch_size=8)
    config.eval.update(
        batch_size=8, num_resamples=40, methods=("sdd", "centre"), fills=("black",)
    )
    return config.to_dict()


def same_bits(found, expected) -> bool:
    same = jax.tree.map(
        lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), found, expected
    )
    return all(jax.tree.leaves(same))


def test_a_fine_tuned_workdir_gives_its_network_and_the_head_is_fresh(on_lfw, trained):
    _, model = pretrained.start_from(on_lfw["model"], 3, seed=5)
    backbone = models.variables(models.load(trained))["backbone"]
    assert same_bits(models.variables(model)["backbone"], backbone)
    assert model.head.num_classes == 3 and not model.head.kernel[...].any()


def test_all_modes_run_on_other_people_and_the_network_stays_as_it_was(
    on_lfw, trained, tmp_path
):
    train.run(on_lfw, tmp_path)
    model, before = models.load(tmp_path), models.load(trained)
    found, expected = models.variables(model), models.variables(before)
    assert same_bits(found["backbone"], expected["backbone"])
    assert model.head.num_classes == 3 and model.head.kernel[...].any()
    assert explain.run(on_lfw, tmp_path)["num_images"] == 2
    assert evaluate.run(on_lfw, tmp_path)["num_images"] == 6


def test_a_workdir_without_a_checkpoint_is_refused(on_lfw, tmp_path):
    (tmp_path / "finetune").mkdir()
    on_lfw["model"]["pretrained"] = str(tmp_path / "finetune")
    with pytest.raises(InputError, match="no checkpoint in .*finetune: train first"):
        train.run(on_lfw, tmp_path / "workdir")


def test_what_the_config_needs_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        setup.require_files(lfw.get_config().to_dict())
    message = str(caught.value)
    assert "no images in data/lfw (data.root): put them into data/lfw/" in message
    assert "no weights in runs/finetune (model.pretrained): " in message
    assert "or train with --workdir=runs/finetune; configs/orl.py" in message


def test_an_empty_root_is_left_to_tfds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "finetune").mkdir(parents=True)
    config = lfw.get_config()
    config.data.update(root="", data_dir=str(tmp_path))
    setup.require_files(config.to_dict())
    with pytest.raises(InputError, match="lfw is not prepared|sdd_jax.tfds."):
        setup.load_splits(config.to_dict())
