import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.sources import synthetic

OPTIONS = {"image_size": 48, "seed": 3}


def test_two_identities_differ_at_their_marks_and_nowhere_else():
    for index in range(5):
        one, one_mask = synthetic.draw(1, index, **OPTIONS)
        other, other_mask = synthetic.draw(4, index, **OPTIONS)
        differs = (one != other).any(-1)
        np.testing.assert_array_equal(differs, one_mask | other_mask)
        assert not (one_mask & other_mask).any()


def test_the_mark_moves_with_the_face():
    masks = [synthetic.draw(2, index, **OPTIONS)[1] for index in range(4)]
    assert len({mask.tobytes() for mask in masks}) == 4
    for mask in masks:
        assert 0.01 < mask.mean() < 0.06


def test_a_drawing_depends_on_its_seed_label_and_index_alone():
    first, _ = synthetic.draw(2, 7, **OPTIONS)
    synthetic.draw(0, 0, **OPTIONS)
    again, _ = synthetic.draw(2, 7, **OPTIONS)
    np.testing.assert_array_equal(first, again)
    assert (first != synthetic.draw(2, 8, **OPTIONS)[0]).any()
    assert (first != synthetic.draw(2, 7, image_size=48, seed=4)[0]).any()


def test_every_mark_lies_inside_the_image():
    for label in range(8):
        for index in range(20):
            _, mask = synthetic.draw(label, index, **OPTIONS)
            edge = np.ones_like(mask)
            edge[1:-1, 1:-1] = False
            assert mask.any() and not (mask & edge).any()


def test_splits_hold_each_drawing_once_and_read_it():
    sets = synthetic.splits(**OPTIONS, num_identities=3, num_images=10)
    sizes = {split: len(image_set) for split, image_set in sets.items()}
    assert sizes == {"train": 18, "validation": 6, "test": 6}
    files = [file for image_set in sets.values() for file in image_set.files]
    assert len(set(files)) == 30
    test = sets["test"]
    assert test.names == sets["train"].names == ("person0", "person1", "person2")
    assert test.files[3] == "person1/9" and test.labels[3] == 1
    expected, _ = synthetic.draw(1, 9, **OPTIONS, num_identities=3)
    np.testing.assert_array_equal(test.read(3), expected)


@pytest.mark.parametrize("num_identities, num_images", [(1, 10), (8, 2)])
def test_too_little_to_split_is_refused(num_identities, num_images):
    with pytest.raises(InputError, match="expected at least 2 identities"):
        synthetic.splits(
            **OPTIONS, num_identities=num_identities, num_images=num_images
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": -1}, "^identity -1 was asked for, but there are 8"),
        ({"label": 8}, "^identity 8 was asked for, but there are 8"),
        ({"index": -1}, "^index is -1, expected a whole number"),
        ({"image_size": 0}, "^image_size is 0, expected a whole number"),
        ({"seed": -1}, "^seed is -1, expected a whole number"),
    ],
)
def test_a_drawing_of_nobody_is_refused(arguments, message):
    options = {"label": 0, "index": 0, "image_size": 16, "seed": 0} | arguments
    with pytest.raises(InputError, match=message):
        synthetic.draw(**options)
