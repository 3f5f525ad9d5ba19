import numpy as np
import pytest

from sdd_jax.images.alignment import face_parts
from sdd_jax.images.alignment.similarity import template


@pytest.mark.parametrize("size", [112, 150])
def test_the_five_points_lie_in_their_parts(size):
    parts = [face_parts.part_of(x, y, size) for x, y in template(size)]
    assert parts == ["eyes and brows"] * 2 + ["nose"] + ["mouth"] * 2


def test_every_part_has_cells_of_a_seven_by_seven_grid_and_sums_add_up():
    grid = np.random.default_rng(0).normal(size=(7, 7))
    found = face_parts.sums(grid, offset=7.5, stride=16, size=112)
    assert tuple(found) == face_parts.PARTS
    assert sum(found.values()) == pytest.approx(grid.sum())
    ones = face_parts.sums(np.ones((7, 7)), offset=7.5, stride=16, size=112)
    assert ones == {
        "forehead": 14,
        "eyes and brows": 14,
        "nose": 3,
        "cheeks": 8,
        "mouth": 3,
        "chin and neck": 7,
    }
