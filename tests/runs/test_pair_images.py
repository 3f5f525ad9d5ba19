import json

import numpy as np
import pytest
from enrolled_people import CROWD, NOBODY, find_by_colour, photograph

from sdd_jax.errors import InputError
from sdd_jax.images.alignment.detectors import Faces
from sdd_jax.runs import faces, pair_images


@pytest.fixture
def config(monkeypatch):
    from configs import verify

    monkeypatch.setattr(pair_images, "load_mtcnn", lambda: find_by_colour)
    # As large as the photographs of these tests are.
    monkeypatch.setattr(faces, "SMALL", 0)
    return verify.get_config().to_dict()


def largest(config):
    return config | {"explain_pair": config["explain_pair"] | {"largest": True}}


def of_file(path, config):
    found = pair_images.of_file(str(path), config)
    assert found is not None
    return found


def test_a_face_is_aligned_and_measured(config, tmp_path):
    photograph(tmp_path / "one.png", 0, red=100)
    found = of_file(tmp_path / "one.png", config)
    assert found.image.shape == (112, 112, 3) and found.label == pair_images.NOBODY
    assert found.measures["eye_distance"] == pytest.approx(35.24, abs=0.01)
    assert found.num_faces == 1 and len(found.sha256) == 64


def test_a_small_photograph_is_enlarged_and_measured_in_its_own_pixels(
    config, tmp_path, monkeypatch
):
    photograph(tmp_path / "one.png", 0, red=100)
    seen = []

    def find(image):
        seen.append(image.shape)
        found = find_by_colour(image)
        return Faces(4 * found.boxes, 4 * found.landmarks + 1.5, found.scores)

    monkeypatch.setattr(pair_images, "load_mtcnn", lambda: find)
    monkeypatch.setattr(faces, "SMALL", 200)
    found = of_file(tmp_path / "one.png", config)
    assert seen == [(448, 448, 3)]
    assert found.measures["eye_distance"] == pytest.approx(35.24, abs=0.01)


@pytest.mark.parametrize(
    ("red", "message"),
    [
        (NOBODY, "no face found with a score of at least 0.7"),
        (CROWD, "2 faces found, expected one: cut the others off, or have the largest"),
    ],
)
def test_no_face_and_several_are_refused(config, tmp_path, red, message):
    path = tmp_path / "some.png"
    photograph(path, 0, red=red)
    with pytest.raises(InputError, match=message):
        pair_images.of_file(str(path), config)


def test_the_largest_of_several_is_taken_where_asked_for(config, tmp_path, capsys):
    path = tmp_path / "some.png"
    photograph(path, 0, red=CROWD)
    found = of_file(path, largest(config))
    assert found.num_faces == 2
    assert "the largest of 2 faces is taken" in capsys.readouterr().out


def test_a_face_that_is_too_small_is_refused(config, tmp_path, monkeypatch):
    photograph(tmp_path / "one.png", 0, red=100)

    def find(image):
        found = find_by_colour(image)
        return Faces(found.boxes / 8, found.landmarks / 8, found.scores)

    monkeypatch.setattr(pair_images, "load_mtcnn", lambda: find)
    with pytest.raises(InputError, match="4.4 pixels apart, expected at least 7: the"):
        pair_images.of_file(str(tmp_path / "one.png"), config)


def test_what_is_no_file_is_none_and_what_is_no_image_is_refused(config, tmp_path):
    assert pair_images.of_file("s1/1.pgm", config) is None
    assert pair_images.of_file(str(tmp_path), config) is None
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="text.png"):
        pair_images.of_file(str(tmp_path / "text.png"), config)


def test_landmarks_are_those_of_the_alignment_in_the_photographs_pixels(
    config, tmp_path
):
    assert pair_images.known_landmarks(config, tmp_path) == {}
    folder = tmp_path / "aligned"
    folder.mkdir()
    points = [[4 * i + 1.5, 8.0] for i in range(5)]
    row = {"path": "s1/1.pgm", "output": "s1/1.png", "landmarks": points}
    (folder / "alignment.jsonl").write_text(json.dumps(row) + "\n")
    # ORL's photographs were enlarged four times.
    found = pair_images.known_landmarks(config, tmp_path)["s1/1.pgm"]
    np.testing.assert_allclose(found[:, 0], np.arange(5))
    np.testing.assert_allclose(found[:, 1], 8.5 / 4 - 0.5)
