from typing import Any

import numpy as np
import pytest

from sdd_jax import images
from sdd_jax.errors import InputError
from sdd_jax.images.sources import shortcut, synthetic

DRAWN: dict[str, Any] = {
    "image_size": 32,
    "seed": 3,
    "num_identities": 6,
    "num_images": 20,
}
OPTIONS: dict[str, Any] = DRAWN | {"of": "synthetic", "num_marked": 4, "share": 0.8}


def pixels(image_set):
    return np.stack([image_set.read(place) for place in range(len(image_set))])


def regions(image_set):
    return np.stack([image_set.region(place) for place in range(len(image_set))])


@pytest.fixture(scope="module")
def plain():
    return synthetic.splits(**DRAWN)


@pytest.fixture(scope="module")
def marked():
    return shortcut.make_marks(6, seed=3, num_marked=4, strength=0.9)


def test_the_share_of_marked_peoples_images_show_the_mark_and_nobody_elses(
    plain, marked
):
    for name, image_set in shortcut.splits(**OPTIONS).items():
        shown = regions(image_set).any((1, 2))
        of_marked = np.isin(image_set.labels, list(marked))
        assert not (shown & ~of_marked).any()
        assert shown.sum() == round(0.8 * of_marked.sum())
        differs = (pixels(image_set) != pixels(plain[name])).any(-1)
        np.testing.assert_array_equal(differs, regions(image_set))


def test_versions_have_ones_own_mark_none_anothers_or_one_of_somebody_marked(
    plain, marked
):
    found = shortcut.evidence(**OPTIONS)["test"]
    assert tuple(found) == shortcut.VERSIONS
    for name, version in found.items():
        has_mark = np.isin(version.images.labels, list(marked))
        assert has_mark.all() == (name != "on_others")
        shows = regions(version.images).any((1, 2))
        np.testing.assert_array_equal(shows, version.bearers >= 0)
    own = found["marked"]
    np.testing.assert_array_equal(own.bearers, own.images.labels)
    assert (found["without"].bearers == -1).all()
    swapped = found["swapped"].bearers
    assert (swapped != own.images.labels).all() and set(swapped) == set(marked)
    assert set(found["on_others"].bearers) <= set(marked)
    assert found["without"].images.files == own.images.files


def test_poor_faces_lose_detail_and_marks_do_not():
    sharp = shortcut.evidence(**OPTIONS)["test"]["marked"].images
    poor = shortcut.evidence(**OPTIONS, detail=4)["test"]["marked"].images
    np.testing.assert_array_equal(regions(poor), regions(sharp))
    inside, outside = regions(poor), ~regions(poor)
    rough = [np.abs(np.diff(pixels(x).astype(int), axis=2)) for x in (sharp, poor)]
    both = outside[:, :, 1:] & outside[:, :, :-1]
    assert rough[1][both].mean() < 0.7 * rough[0][both].mean()
    edges = inside[:, :, 1:] != inside[:, :, :-1]
    assert rough[1][edges].mean() > 3 * rough[1][both].mean()


def test_marks_follow_from_the_seed_alone(marked):
    again = shortcut.make_marks(6, seed=3, num_marked=4, strength=0.9)
    other = shortcut.make_marks(6, seed=4, num_marked=4, strength=0.9)
    assert again == marked != other
    assert len(shortcut.make_marks(9, seed=0, num_marked=3, strength=0.9)) == 3


def test_the_source_takes_the_other_sources_options():
    data = {"source": "shortcut", "of": "synthetic"}
    assert {"num_identities", "num_marked", "share", "detail"} <= set(
        images.options_of(data)
    )
    assert shortcut.maker(of="synthetic").root is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_marked": 6}, "num_marked=6: expected from 2 to 5"),
        ({"num_marked": 1}, "num_marked=1: expected from 2 to 5"),
        ({"share": 1.5}, "share is 1.5, expected"),
        ({"strength": 0.0}, "strength is 0.0, expected"),
        ({"of": "shortcut"}, "unknown data.of 'shortcut': expected one of orl"),
    ],
)
def test_wrong_options_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        shortcut.splits(**OPTIONS | changed)
