import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images import marks

OPTIONS = {"image_size": 48, "seed": 3}


def some_marks(number=12):
    random = np.random.default_rng(0)
    return [marks.pair(random, 0.9) for _ in range(number)]


def test_a_marked_image_differs_from_the_unmarked_one_on_exactly_the_mask():
    random = np.random.default_rng(1)
    for mark, _ in some_marks():
        image = random.integers(0, 256, (48, 48, 3), np.uint8)
        mask = marks.mask_of(mark, "a/1.png", **OPTIONS)
        before = image.copy()
        differs = (marks.drawn(image, mark, mask) != image).any(-1)
        np.testing.assert_array_equal(differs, mask)
        np.testing.assert_array_equal(image, before)


def test_also_where_the_image_has_the_marks_colour_already():
    mark, _ = some_marks(1)[0]
    image = np.empty((48, 48, 3), np.uint8)
    image[:] = np.rint(mark.colour)
    mask = marks.mask_of(mark, "a/1.png", **OPTIONS)
    np.testing.assert_array_equal(
        (marks.drawn(image, mark, mask) != image).any(-1), mask
    )


def test_marks_of_a_pair_differ_and_never_overlap():
    for pair in some_marks():
        assert pair[0].shape != pair[1].shape
        masks = [marks.mask_of(mark, "x", image_size=150, seed=0) for mark in pair]
        assert not (masks[0] & masks[1]).any()


def test_every_mark_lies_inside_the_image_and_is_small():
    edge = np.ones((48, 48), bool)
    edge[1:-1, 1:-1] = False
    for pair in some_marks():
        for mark in pair:
            for number in range(5):
                mask = marks.mask_of(mark, f"{number}", **OPTIONS)
                assert 0.004 < mask.mean() < 0.04 and not (mask & edge).any()


def test_a_mark_moves_a_little_with_the_name_and_the_seed_alone():
    mark, _ = some_marks(1)[0]

    def centre(file, seed=0):
        mask = marks.mask_of(mark, file, image_size=150, seed=seed)
        return np.argwhere(mask).mean(0)

    np.testing.assert_array_equal(centre("a"), centre("a"))
    assert (centre("a") != centre("b")).any() and (centre("a") != centre("a", 1)).any()
    places = np.stack([centre(str(number)) for number in range(20)])
    assert np.ptp(places, axis=0).max() <= 0.04 * 150 + 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"image_size": 0}, "^image_size is 0, expected a whole number"),
        ({"seed": -1}, "^seed is -1, expected a whole number"),
    ],
)
def test_a_mask_of_nothing_is_refused(option, message):
    with pytest.raises(InputError, match=message):
        marks.mask_of(some_marks(1)[0][0], "a", **(OPTIONS | option))
