import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sdd_jax import checkpoints, models, sharding
from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES
from sdd_jax.runs import setup, train

HEAD = {"name": "pooled", "num_classes": 6}


def final_arrays(folder: Path) -> dict:
    model = models.load(folder, step=checkpoints.latest_step(folder))
    return models.variables(model)


def assert_same_bits(one: dict, other: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def lines(folder: Path) -> list[dict]:
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_step_is_logged_once_and_every_validation(trained, config):
    steps = [line["step"] for line in lines(trained) if line["kind"] == "train"]
    validations = [
        line["step"] for line in lines(trained) if line["kind"] == "validation"
    ]
    assert steps == list(range(1, config["train"]["steps"] + 1))
    assert validations == [3, 6]


def test_an_interrupted_run_ends_in_the_same_parameters_and_log(
    trained, config, tmp_path, monkeypatch
):
    save, saved = checkpoints.save, []

    def interrupted(folder, step, *rest):
        if saved:
            raise KeyboardInterrupt
        saved.append(step)
        save(folder, step, *rest)

    monkeypatch.setattr(checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path)
    monkeypatch.undo()
    assert checkpoints.latest_step(tmp_path) == saved[-1] < config["train"]["steps"]
    train.run(config, tmp_path)
    assert_same_bits(final_arrays(tmp_path), final_arrays(trained))
    assert lines(tmp_path) == lines(trained)


def test_a_finished_run_is_not_trained_again(workdir_copy, config, monkeypatch):
    before = final_arrays(workdir_copy)
    monkeypatch.setattr(train, "_train", None)  # calling it would fail
    result = train.run(config, workdir_copy)
    assert result["last_step"] == config["train"]["steps"]
    assert_same_bits(final_arrays(workdir_copy), before)


def test_rematerialising_ends_in_the_same_parameters(make_config, tmp_path, trained):
    train.run(make_config({"train.remat": True}), tmp_path)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        final_arrays(tmp_path),
        final_arrays(trained),
    )


@pytest.mark.slow
def test_a_divided_head_ends_in_the_same_parameters(make_config, tmp_path):
    """By AdaFace's loss, which asks most of it: directions to start in, statistics."""
    options = {"train.parts": "head", "train.steps": 2, "train.validate_every": 1}
    options["train.loss"] = "adaface"
    whole = train.run(make_config(options), tmp_path / "whole")
    divided = make_config(options | {"train.divide_head": True})
    jax.set_mesh(sharding.make_mesh(4))  # of six people, so two make up the rest
    result = train.run(divided, tmp_path / "divided")
    assert result["validation_loss"] == pytest.approx(
        whole["validation_loss"], rel=1e-4
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        final_arrays(tmp_path / "divided"),
        final_arrays(tmp_path / "whole"),
    )


@pytest.mark.slow
def test_training_the_head_leaves_the_backbone_as_it_was(make_config, tmp_path):
    config = make_config({"train.parts": "head"})
    train.run(config, tmp_path)
    description = checkpoints.description(tmp_path, 6)["model"]
    start = models.variables(models.build(description, seed=config["seed"]))
    end = final_arrays(tmp_path)
    assert_same_bits(end["backbone"], start["backbone"])
    assert np.abs(end["head"]["kernel"]).max() > 0


@pytest.mark.slow
def test_training_the_head_reads_each_image_once(make_config, tmp_path, monkeypatch):
    config = make_config({"train.parts": "head", "train.cache_images": False})
    splits = setup.load_splits(config)
    read = []

    def recorded(index):
        read.append(index)
        return splits["train"].read(index)

    train_set = dataclasses.replace(splits["train"], read=recorded)
    monkeypatch.setattr(setup, "load_splits", lambda *_: splits | {"train": train_set})
    train.run(config, tmp_path)
    # For the features; the steps that follow take no images.
    assert config["train"]["steps"] * config["train"]["batch_size"] > len(train_set)
    assert sorted(set(read)) == list(range(len(train_set)))
    num_padded = -len(train_set) % config["train"]["batch_size"]
    assert len(read) <= len(train_set) + num_padded


@pytest.mark.slow
def test_head_only_training_goes_on_to_the_same_parameters(
    make_config, tmp_path, monkeypatch
):
    config = make_config({"train.parts": "head"})
    train.run(config, tmp_path / "whole")
    save = checkpoints.save

    def stop_at_the_end(folder, step, *rest):
        if step == config["train"]["steps"]:
            raise KeyboardInterrupt
        save(folder, step, *rest)

    monkeypatch.setattr(checkpoints, "save", stop_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path / "parts")
    monkeypatch.undo()
    train.run(config, tmp_path / "parts")
    assert_same_bits(final_arrays(tmp_path / "parts"), final_arrays(tmp_path / "whole"))


def test_frozen_statistics_stay_as_they_were(make_config, tmp_path, trained):
    config = make_config({"train.update_batch_stats": False, "train.steps": 1})
    train.run(config, tmp_path)
    frozen = final_arrays(tmp_path)["backbone"]["stem"]["norm"]
    np.testing.assert_array_equal(frozen["mean"], 0.0)
    np.testing.assert_array_equal(frozen["var"], 1.0)
    updated = final_arrays(trained)["backbone"]["stem"]["norm"]
    assert np.abs(updated["mean"]).max() > 0


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_with_its_step(make_config, tmp_path):
    config = make_config(
        {"train.backbone_learning_rate": 1e30, "train.warmup_fraction": 0.0}
    )
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path)
    message = str(error.value)
    assert message.startswith("the loss is nan at step 2, expected a finite number")
    assert "no checkpoint was saved yet" in message
    assert "\n" not in message
    assert not checkpoints.exists(tmp_path)


@pytest.mark.slow
def test_the_last_good_checkpoint_is_named_and_kept(make_config, tmp_path):
    config = make_config(
        {
            "train.backbone_learning_rate": 1e30,
            "train.warmup_fraction": 0.5,  # the first step has rate 0
            "train.validate_every": 1,
        }
    )
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path)
    last = tmp_path / "checkpoints" / "1"
    assert "at step 2, expected a finite number" in str(error.value)
    assert f"the last good checkpoint is {last}" in str(error.value)
    assert checkpoints.latest_step(tmp_path) == 1


def test_weights_that_overflow_in_the_last_step_are_not_saved(trained):
    """The loss of that step is finite: it is of the weights before it."""
    trees = {"model": {"head": {"kernel": np.array([0, np.nan, np.inf], np.float32)}}}
    with pytest.raises(InputError) as error:
        train._require_finite_weights(trees, 9, trained)
    assert str(error.value) == (
        "model/head/kernel has 2 of 3 values that are NaN or infinite: step 9 "
        f"overflowed and is not saved; the last good checkpoint is "
        f"{trained / 'checkpoints' / '6'}; lower the learning rates and use another "
        "--workdir"
    )


def test_a_workdir_of_another_config_is_refused_by_name(workdir_copy, make_config):
    other = make_config({"train.weight_decay": 0.5})
    with pytest.raises(
        InputError, match=r"train\.weight_decay is 0\.01 there and 0\.5"
    ):
        train.run(other, workdir_copy)


@pytest.mark.slow
def test_without_validation_images_the_last_checkpoint_is_the_best(
    make_config, tmp_path
):
    faces = SOURCES["synthetic"](image_size=32, seed=0, num_identities=2, num_images=6)
    for place, file in enumerate(faces["train"].files):
        path = tmp_path / "faces" / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces["train"].read(place)).save(path)
    config = make_config({"train.validate_every": 2, "train.steps": 4})
    config["data"] = {
        "source": "folder",
        "root": str(tmp_path / "faces"),
        "validation_fraction": 0.0,
        "test_fraction": 0.3,
    }
    result = train.run(config, tmp_path / "run")
    assert result["best_step"] == result["last_step"] == 4


def test_a_source_that_does_not_exist_is_named(make_config):
    config = make_config({"data.source": "photos"})
    with pytest.raises(InputError, match="unknown data.source 'photos'"):
        setup.load_splits(config)


def test_all_missing_files_are_named_in_one_line(make_config, tmp_path):
    config = make_config({"model.pretrained": str(tmp_path / "weights")})
    config["data"] = {"source": "folder", "root": str(tmp_path / "faces")}
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    message = str(error.value)
    assert str(tmp_path / "weights") in message
    assert str(tmp_path / "faces") in message
    assert "configs/orl.py" in message
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_is_refused(make_config, tmp_path):
    with pytest.raises(InputError, match=r"train\.batch_size is 0"):
        train.run(make_config({"train.batch_size": 0}), tmp_path)


def test_converted_weights_are_not_a_workdir(make_config, tmp_path):
    config = make_config({})
    model = models.build({"backbone": config["model"]["backbone"], "head": HEAD})
    trees = {"model": models.variables(model)}
    checkpoints.save(tmp_path, 0, trees, {"model": {}, "card": {}}, 0.0)
    with pytest.raises(InputError, match="holds converted weights, which know no"):
        train.run(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_people(make_config, tmp_path):
    faces = SOURCES["synthetic"](image_size=32, seed=0, num_identities=3, num_images=6)
    for place, file in enumerate(faces["train"].files):
        path = tmp_path / "faces" / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces["train"].read(place)).save(path)
    config = make_config({"train.parts": "head", "train.steps": 1})
    config["data"] = {"source": "folder", "root": str(tmp_path / "faces")}
    train.run(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "faces" / "person2")
    with pytest.raises(InputError, match="images that are not there any more"):
        train.run(config, tmp_path / "run")
    (tmp_path / "run/split.jsonl").unlink()
    with pytest.raises(InputError, match="knows 3 identities, but the data have 2"):
        train.run(config, tmp_path / "run")
