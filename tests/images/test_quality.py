import numpy as np
import pytest

from sdd_jax.images import quality
from sdd_jax.images.alignment.similarity import template

RNG = np.random.default_rng(0)
FRONTAL = template()


def rotated(points, degrees):
    turn = np.exp(1j * np.radians(degrees))
    moved = (points @ np.array([1, 1j])) * turn
    return np.stack([moved.real, moved.imag], 1)


def test_sharpness_is_the_laplacians_spread_worked_by_hand():
    image = np.zeros((4, 4, 3), np.uint8)
    image[1, 1] = 10
    # Of the four inner pixels: the bright one, two beside it, and one apart.
    assert quality.sharpness(image) == pytest.approx(np.std([-40.0, 10, 10, 0]))
    assert quality.sharpness(np.full((9, 9, 3), 77, np.uint8)) == pytest.approx(0)


def test_blur_and_enlarging_make_an_image_less_sharp():
    image = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    coarse = image[::2, ::2].repeat(2, 0).repeat(2, 1)
    mean = (image[:-1, :-1].astype(int) + image[1:, 1:]) // 2
    for worse in (coarse, mean.astype(np.uint8)):
        assert quality.sharpness(worse) < quality.sharpness(image)


def test_the_template_is_frontal_and_a_turn_in_the_plane_is_roll_alone():
    found = quality.pose(FRONTAL)
    assert found["eye_distance"] == pytest.approx(35.24, abs=0.01)
    assert abs(found["yaw"]) < 0.01 and 0.45 < found["pitch"] < 0.55
    turned = quality.pose(3 * rotated(FRONTAL, 30) + 100)
    assert turned["roll"] - found["roll"] == pytest.approx(30)
    assert turned["eye_distance"] == pytest.approx(3 * found["eye_distance"])
    for name in ("yaw", "pitch"):
        assert turned[name] == pytest.approx(found[name])


def test_a_nose_to_the_right_is_yaw_and_one_further_down_is_pitch():
    points = FRONTAL.copy()
    points[2] += (7, 4)
    found, usual = quality.pose(points), quality.pose(FRONTAL)
    assert found["yaw"] - usual["yaw"] == pytest.approx(7 / 35.24, abs=0.003)
    assert found["pitch"] > usual["pitch"]


def test_unusual_is_what_is_worse_than_99_per_cent():
    known = [
        {"sharpness": float(i), "yaw": i / 1000 - 0.5, "eye_distance": None}
        for i in range(1001)
    ]
    usual = quality.ranges(known)
    assert usual == {"sharpness": (10, 990), "yaw": pytest.approx((-0.49, 0.49))}
    assert quality.unusual({"sharpness": 9.0, "yaw": 0.0}, usual) == ["sharpness"]
    # Very sharp is no fault; turned to either side is.
    assert quality.unusual({"sharpness": 2000.0, "yaw": 0.6}, usual) == ["yaw"]
    assert quality.unusual({"sharpness": None, "yaw": -0.6}, usual) == ["yaw"]
    # But nothing was measured on very sharp images.
    assert quality.outside({"sharpness": 2000.0, "yaw": 0.0}, usual) == ["sharpness"]
    assert quality.outside({"sharpness": 500.0, "yaw": None}, usual) == []
