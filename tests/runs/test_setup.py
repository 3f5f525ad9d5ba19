import json

import pytest

from sdd_jax import checkpoints
from sdd_jax.errors import InputError
from sdd_jax.runs import setup


def load(folder) -> None:
    description = checkpoints.description(folder, checkpoints.best_step(folder))
    setup.load_model(folder, tuple(description["names"]), None)


def test_a_run_that_is_not_finished_is_said_to_be(workdir_copy, capsys):
    load(workdir_copy)
    assert capsys.readouterr().out == ""
    path = workdir_copy / "config.json"
    config = json.loads(path.read_text())
    config["train"]["steps"] = 30
    path.write_text(json.dumps(config))
    load(workdir_copy)
    assert capsys.readouterr().out == "step 6 of 30: training is not finished\n"


@pytest.mark.parametrize("text", [None, "", "[]", '{"train": null}'])
def test_without_a_config_nobody_knows_whether_training_is_finished(
    workdir_copy, capsys, text
):
    path = workdir_copy / "config.json"
    path.unlink() if text is None else path.write_text(text)
    load(workdir_copy)
    assert capsys.readouterr().out == ""


def test_a_setting_of_another_source_is_refused(make_config):
    config = make_config({})
    config["data"] = {"source": "folder", "root": "faces", "margin": 0.1}
    with pytest.raises(InputError) as caught:
        setup.load_splits(config)
    assert str(caught.value) == (
        "data.margin is no setting of data.source=folder: expected some of "
        "max_skipped, root, test_fraction, validation_fraction"
    )


def test_a_root_that_is_a_file_is_refused(make_config, tmp_path):
    path = tmp_path / "faces.zip"
    path.touch()
    config = make_config({})
    config["data"] = {"source": "folder", "root": str(path)}
    with pytest.raises(InputError) as caught:
        setup.require_files(config)
    assert str(caught.value) == (
        f"data.root is {path}, a file; expected the folder that the images are in"
    )
    with pytest.raises(InputError) as caught:
        setup.load_splits(config)
    assert str(caught.value) == (
        f"{path} is a file; expected images in ROOT/<identity>/<file>, correct the root"
    )
