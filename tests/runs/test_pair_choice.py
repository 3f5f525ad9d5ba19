import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.patch_games import KINDS
from sdd_jax.runs.pair_choice import games, half_of, pairs, rivals

NAMES = ("s1", "s10", "s2", "s9", "s11", "s3", "s4", "s8")
LABELS = np.repeat(np.arange(8), 3)


def test_halves_are_by_name_and_numbers_count_as_numbers():
    first, second = (half_of(NAMES, LABELS, half) for half in ("first", "second"))
    assert [NAMES[x] for x in first] == ["s1", "s2", "s3", "s4"]
    assert [NAMES[x] for x in second] == ["s8", "s9", "s10", "s11"]
    assert sorted(half_of(NAMES, LABELS, "all")) == list(range(8))


def test_who_has_one_image_is_left_out():
    labels = np.append(LABELS[:-3], 7)
    assert [NAMES[x] for x in half_of(NAMES, labels, "second")] == ["s9", "s10", "s11"]


def test_pairs_are_of_their_kind_and_everybody_is_a_probe_as_often():
    people = [1, 3, 4]
    for genuine in (True, False):
        found = pairs(LABELS, people, 9, genuine=genuine, seed=0)
        one, other = LABELS[found.probes], LABELS[found.references]
        assert ((one == other) == genuine).all()
        assert (found.probes != found.references).all()
        assert set(other) <= set(people)
        np.testing.assert_array_equal(np.bincount(one, minlength=8)[people], 3)
        again = pairs(LABELS, people, 9, genuine=genuine, seed=0)
        np.testing.assert_array_equal(again.probes, found.probes)
        differs = pairs(LABELS, people, 9, genuine=genuine, seed=1)
        assert (differs.probes != found.probes).any()


def test_a_game_has_two_images_of_one_person_and_a_donor_of_another():
    found = games(LABELS, [0, 2, 5, 7], 8, seed=0)
    probe, reference, donor = (LABELS[x] for x in found[:3])
    assert (probe == reference).all() and (probe != donor).all()
    assert (found.probes != found.references).all()
    np.testing.assert_array_equal(np.bincount(found.kinds), [2] * len(KINDS))


def test_rivals_are_the_nearest_of_nobody_of_the_pair():
    people = list(range(8))
    angles = np.arange(8) / 8
    templates = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    chosen = pairs(LABELS, people, 8, genuine=False, seed=3)
    found = rivals(chosen, LABELS, templates[LABELS], people, templates)
    assert found.shape == (8, 4, 2)
    for i in range(8):
        one, other = LABELS[chosen.probes[i]], LABELS[chosen.references[i]]
        left = [x for x in people if x not in (one, other)]
        nearest = sorted(left, key=lambda x: (abs(x - one), x))[:4]
        expected = np.sort(templates[nearest], axis=0)
        np.testing.assert_allclose(np.sort(found[i], axis=0), expected)


def test_too_few_people_are_refused():
    with pytest.raises(InputError, match="^prove_pairs.people is 'third', expected on"):
        half_of(NAMES, LABELS, "third")
    message = "^2 people of the second half have two images, expected at least 3"
    with pytest.raises(InputError, match=message):
        half_of(NAMES[:4], LABELS[:12], "second")
