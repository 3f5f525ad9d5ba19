import copy
import json
import os

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.runs import workdir

CONFIG = {
    "seed": 0,
    "data": {"source": "synthetic", "shape": (1, 2)},
    "train": {"steps": 6, "augmentation": {"mirror": 0.5, "scale": None}},
    "eval": {"fraction": 0.2},
}
SECTIONS = ("seed", "data", "train")


def changed(path: str, value) -> dict:
    """Return CONFIG with one value changed."""
    config = json.loads(json.dumps(CONFIG))
    *sections, name = path.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return config


def refusal_of(folder, config) -> str:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(InputError) as caught:
        workdir.claim(folder, config, SECTIONS)
    assert (folder / "config.json").read_bytes() == before
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_new_folder_becomes_the_configs(tmp_path):
    folder = tmp_path / "a" / "b"
    workdir.claim(folder, CONFIG, SECTIONS)
    assert os.listdir(folder) == ["config.json"]
    stored = json.loads((folder / "config.json").read_text())
    assert stored == json.loads(json.dumps(CONFIG))


def test_the_same_config_is_welcome_again_and_the_file_stays(tmp_path):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    before = (tmp_path / "config.json").stat().st_mtime_ns
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    workdir.claim(tmp_path, changed("data.shape", [1, 2]), SECTIONS)
    assert (tmp_path / "config.json").stat().st_mtime_ns == before


def test_sections_that_are_not_compared_may_differ(tmp_path):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    workdir.claim(tmp_path, changed("eval.fraction", 0.5), SECTIONS)
    workdir.claim(tmp_path, changed("train.steps", 7), ("seed", "data"))


@pytest.mark.parametrize("name", ["remat", "divide_head", "log_every"])
def test_what_changes_no_result_may_differ(tmp_path, name):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    for value in (1, 2):
        workdir.claim(tmp_path, changed(f"train.{name}", value), SECTIONS)


def test_a_folder_from_before_there_was_a_choice_of_losses_is_of_the_first(tmp_path):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    workdir.check(tmp_path, changed("train.loss", "softmax"), SECTIONS)
    message = refusal_of(tmp_path, changed("train.loss", "adaface"))
    assert "train.loss is 'softmax' there and 'adaface' now" in message


def test_a_folder_from_before_there_was_guidance_is_of_none(tmp_path, make_config):
    new = make_config({})
    old = copy.deepcopy(new)
    del old["train"]["guidance"]
    workdir.claim(tmp_path, old, SECTIONS)
    workdir.check(tmp_path, new, SECTIONS)
    guided = make_config({"train.guidance.erase": 0.5})
    assert "erase is 0.0 there and 0.5 now" in refusal_of(tmp_path, guided)


@pytest.mark.parametrize(
    "path, value, there",
    [
        ("seed", 1, "0"),
        ("train.augmentation.mirror", 0.25, "0.5"),
        ("train.augmentation.scale", 2.0, "None"),
        ("data.shape", (2, 1), "[1, 2]"),
    ],
)
def test_another_config_is_refused_by_the_name_of_what_differs(
    tmp_path, path, value, there
):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    message = refusal_of(tmp_path, changed(path, value))
    assert message.startswith(
        f"{tmp_path} belongs to another config: {path} is {there}"
    )
    # What is on one side only cannot be passed.
    way_out = "--config that it was made with" if there == "None" else f"{path}={there}"
    assert way_out in message and "choose another --workdir" in message


def test_every_setting_that_differs_is_named(tmp_path):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    other = changed("seed", 1)
    other["train"] = changed("train.augmentation.mirror", 0.25)["train"]
    message = refusal_of(tmp_path, other)
    assert "seed is 0 there and 1 now, train.augmentation.mirror is 0.5" in message
    assert "'--config.seed=0' '--config.train.augmentation.mirror=0.5'" in message


@pytest.mark.parametrize("path", ["data.root", "train.augmentation.blur"])
def test_a_setting_that_is_on_one_side_only_is_a_difference(tmp_path, path):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    assert path in refusal_of(tmp_path, changed(path, 1))


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"seed": 0, "da', "\xff"])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    message = refusal_of(tmp_path, CONFIG)
    assert message.startswith(f"{tmp_path / 'config.json'} is damaged")


def test_versions_are_of_what_the_numbers_depend_on():
    found = workdir.versions()
    assert {"sdd_jax", "jax", "jaxlib", "flax", "numpy"} <= found.keys()
    assert found["numpy"] == np.__version__
