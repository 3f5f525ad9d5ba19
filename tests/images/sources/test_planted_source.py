import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdd_jax import images
from sdd_jax.errors import InputError
from sdd_jax.images import marks
from sdd_jax.images.sources import planted, synthetic

DRAWN: dict[str, Any] = {
    "image_size": 32,
    "seed": 3,
    "num_identities": 8,
    "num_images": 15,
}
OPTIONS: dict[str, Any] = DRAWN | {"of": "synthetic", "num_pairs": 1, "num_fours": 1}


@pytest.fixture(scope="module")
def found():
    return planted.evidence(**OPTIONS)


def pixels(image_set):
    return np.stack([image_set.read(place) for place in range(len(image_set))])


def test_each_version_differs_from_the_unmarked_one_on_exactly_its_masks(found):
    plan, splits = found
    for one in splits.values():
        places = range(len(one.marked))
        without = pixels(one.without)
        for version, mask in (
            (one.marked, one.mask),
            (one.swapped, one.swapped_mask),
        ):
            masks = np.stack([mask(place) for place in places])
            differs = (pixels(version) != without).any(-1)
            np.testing.assert_array_equal(differs, masks)
            is_marked = np.isin(one.marked.labels, list(plan.marks))
            np.testing.assert_array_equal(masks.any((1, 2)), is_marked)


def test_swapping_is_its_own_inverse(found):
    plan, splits = found
    other = planted.swapped(plan)
    assert other.marks != plan.marks and planted.swapped(other) == plan
    test = splits["test"]
    for place, label in enumerate(test.marked.labels):
        file, label = test.marked.files[place], int(label)
        image, mask = test.without.read(place), np.zeros((32, 32), bool)
        if label in plan.marks:
            mark = plan.marks[plan.twins[label]]
            mask = marks.mask_of(mark, file, image_size=32, seed=3)
            image = marks.drawn(image, mark, mask)
        np.testing.assert_array_equal(test.swapped_mask(place), mask)
        np.testing.assert_array_equal(test.swapped.read(place), image)


def test_unique_marks_are_of_two_and_shared_ones_of_four(found):
    plan, _ = found
    for kind, sharing in (("unique", 1), ("shared", 2)):
        own = [
            plan.marks[label]
            for label, is_kind in plan.kinds.items()
            if is_kind == kind
        ]
        assert len(own) == 2 * sharing
        assert all(own.count(mark) == sharing for mark in own)
    assert all(plan.marks[a] != plan.marks[b] for a, b in plan.twins.items())


def test_nothing_but_the_mark_tells_twins_apart_in_training(found):
    plan, splits = found
    train = splits["train"]
    without = pixels(train.without)
    for label, twin in plan.twins.items():
        own, other = (
            {image.tobytes() for image in without[train.marked.labels == one]}
            for one in (label, twin)
        )
        assert own == other and len(own) == 2 * 9
    assert len(set(train.marked.files)) == len(train.marked)


def test_the_tests_images_stand_once_and_are_mixed(found):
    plan, splits = found
    before = synthetic.splits(**DRAWN)["test"]
    after = splits["test"].without
    assert after.files == before.files
    np.testing.assert_array_equal(pixels(after), pixels(before))
    for label in range(8):
        own = before.labels == label
        twin = plan.twins.get(label, label)
        expected = [label, twin, label]
        assert after.labels[own].tolist() == expected


def test_all_of_it_follows_from_the_seed():
    first, again = (planted.evidence(**OPTIONS) for _ in range(2))
    assert first[0] == again[0]
    one, other = (pixels(found["test"].marked) for _, found in (first, again))
    np.testing.assert_array_equal(one, other)
    assert planted.evidence(**(OPTIONS | {"seed": 4}))[0] != first[0]


def test_the_source_gives_the_marked_images(found):
    sets = images.SOURCES["planted"](**OPTIONS)
    for split, image_set in sets.items():
        np.testing.assert_array_equal(pixels(image_set), pixels(found[1][split].marked))


def test_the_other_sources_options_are_known():
    names = images.options_of({"source": "planted", "of": "synthetic"})
    assert {"of", "num_pairs", "num_fours", "strength"} < set(names)
    assert {"num_identities", "num_images"} < set(names)
    assert not {"image_size", "seed", "record", "options"} & set(names)
    assert "num_train" in images.options_of({"source": "planted"})
    assert set(images.options_of({"source": "orl"})) == {"num_train", "num_validation"}


def test_any_file_is_made_an_image_as_by_the_other_source_and_is_none_of_its_own():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    options = {"of": "synthetic", "num_pairs": 1, "num_images": 15}
    made = planted.maker(**options).image("a.png", file.getvalue())
    np.testing.assert_array_equal(made, noise[:, 5:25])
    assert planted.maker(of="orl").root is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "planted"}, "^unknown data.of 'planted': expected one of orl, folder"),
        ({"num_pairs": 0, "num_fours": 0}, "mark 0 identities: expected from 2 to 8"),
        ({"num_pairs": 3, "num_fours": 1}, "mark 10 identities: expected from 2 to 8"),
        ({"strength": 0.0}, "^strength is 0.0, expected a number above 0"),
    ],
)
def test_what_cannot_be_planted_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        planted.splits(**(OPTIONS | options))
