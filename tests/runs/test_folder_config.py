"""A folder of one's own people, on dlib's network."""

import json

import pytest
from PIL import Image

from configs import folder
from sdd_jax.errors import InputError
from sdd_jax.images.sources import orl
from sdd_jax.runs import evaluate, explain, train

PEOPLE = ("Ann Lee", "Ben", "Chlo\u00e9", "Dan", "Eve", "Finn")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return ORL's first people under other names, five whole images each."""
    photos = tmp_path_factory.mktemp("own") / "photos"
    for person, name in enumerate(PEOPLE, 1):
        (photos / name).mkdir(parents=True)
        for number in range(1, 6):
            source = orl.find_root() / f"s{person}" / f"{number}.pgm"
            image = orl.decode(source.read_bytes(), source.name)
            Image.fromarray(image).save(photos / name / f"photo {number}.png")
    return photos


@pytest.mark.slow
def test_all_modes_run_on_a_folder_of_own_people(photos, tmp_path):
    config = folder.get_config()
    config.data.root = str(photos)
    config.train.update(parts="head", steps=40, validate_every=40)
    config.explain.update(num_images=2, methods=("sdd", "cam"))
    config.eval.update(
        batch_size=12, num_resamples=40, methods=("sdd", "centre"), fills=("black",)
    )
    config = config.to_dict()
    train.run(config, tmp_path)
    explain.run(config, tmp_path)
    result = evaluate.run(config, tmp_path)
    assert result["num_images"] == 2 * len(PEOPLE)
    assert result["accuracy"]["value"] > 80  # a guess is right for one in six
    lines = (tmp_path / "explain" / "records.jsonl").read_text().splitlines()
    assert {json.loads(line)["label"] for line in lines} <= set(PEOPLE)


def test_a_folder_that_is_not_there_says_what_to_put_where(tmp_path):
    config = folder.get_config()
    config.data.root = str(tmp_path / "photos")
    with pytest.raises(InputError, match=r"put them into .*/photos/<identity>/<file>"):
        train.run(config.to_dict(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
