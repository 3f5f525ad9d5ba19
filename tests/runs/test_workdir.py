import json
import os
import stat

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


def fail(*arguments, **options):
    raise OSError(28, "No space left on device")


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


@pytest.mark.parametrize("name", ["remat", "cache_images", "log_every"])
def test_what_changes_no_result_may_differ(tmp_path, name):
    workdir.claim(tmp_path, CONFIG, SECTIONS)
    for value in (1, 2):
        workdir.claim(tmp_path, changed(f"train.{name}", value), SECTIONS)


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


def test_a_file_is_written_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "picture.png"
    for content in (b"old", b"new"):
        workdir.write_bytes(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["picture.png"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, function
):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"value": 1})
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        workdir.write_json(path, {"value": 2})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["metrics.json"]
    assert json.loads(path.read_text()) == {"value": 1}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_nan_and_the_old_file_stays(tmp_path, number):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"value": 1})
    with pytest.raises(ValueError, match="JSON"):
        workdir.write_json(path, {"value": [number]})
    assert os.listdir(tmp_path) == ["metrics.json"]
    assert json.loads(path.read_text()) == {"value": 1}


def test_names_are_written_as_they_are_spelt(tmp_path):
    workdir.write_json(tmp_path / "names.json", ["Zoë", "李"])
    assert "Zoë" in (tmp_path / "names.json").read_text(encoding="utf-8")


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "names": np.array(["Zoë", "李"])}
    workdir.write_arrays(tmp_path / "arrays.npz", arrays)
    with np.load(tmp_path / "arrays.npz") as loaded:
        assert set(loaded) == {"a", "names"}
        for name, value in arrays.items():
            np.testing.assert_array_equal(loaded[name], value)


def test_a_folder_is_there_once_all_is_in_it(tmp_path):
    folder = tmp_path / "runs" / "eval"
    with workdir.replaced_folder(folder) as fresh:
        (fresh / "a.txt").write_text("a")
        assert not folder.exists()
    assert os.listdir(tmp_path / "runs") == ["eval"]
    assert os.listdir(folder) == ["a.txt"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_new_folder_takes_the_place_of_the_old_with_all_that_was_in_it(tmp_path):
    folder = tmp_path / "eval"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "old.txt").write_text("old")
    with workdir.replaced_folder(folder) as fresh:
        assert os.listdir(fresh) == []
        (fresh / "new.txt").write_text("new")
        assert os.listdir(folder) == ["deep"]
    assert os.listdir(tmp_path) == ["eval"]
    assert os.listdir(folder) == ["new.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_on_the_way_keeps_the_old_folder_and_leaves_nothing_else(
    tmp_path, error
):
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(error), workdir.replaced_folder(folder) as fresh:
        (fresh / "new.txt").write_text("new")
        raise error
    assert os.listdir(tmp_path) == ["eval"]
    assert os.listdir(folder) == ["old.txt"]


def test_a_folder_that_cannot_be_exchanged_stays(tmp_path, monkeypatch):
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    replace = os.replace

    def fails_for_the_new(source, target):
        if str(target) == str(folder) and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            fail()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_for_the_new)
    with (
        pytest.raises(OSError, match="No space left"),
        workdir.replaced_folder(folder) as fresh,
    ):
        (fresh / "new.txt").write_text("new")
    assert sorted(os.listdir(tmp_path)) == ["eval", "failed"]
    assert os.listdir(folder) == ["old.txt"]


def test_versions_are_of_what_the_numbers_depend_on():
    found = workdir.versions()
    assert {"sdd_jax", "jax", "jaxlib", "flax", "numpy"} <= found.keys()
    assert found["numpy"] == np.__version__
