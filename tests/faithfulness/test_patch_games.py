import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.patch_games import (
    FACE,
    FEATHER,
    KINDS,
    PARTS,
    SIDE,
    altered,
    found_at,
    measures,
    regions,
    within,
)

SIZE = 40
KEYS = jax.random.split(jax.random.key(0), 8)


@pytest.fixture(scope="module")
def masks():
    return regions(np.arange(8) % len(KINDS), (SIZE, SIZE), seed=1)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(30, 220, (8, SIZE, SIZE, 3), np.uint8) for _ in range(2)]


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
    return np.array(box) / SIZE


def test_parts_lie_where_the_template_has_them_and_squares_inside_the_face(masks):
    for place, mask in enumerate(masks):
        kind, box = KINDS[place % len(KINDS)], box_of(mask)
        if kind in PARTS:
            np.testing.assert_allclose(box, PARTS[kind], atol=0.5 / SIZE)
        else:
            np.testing.assert_allclose(box[2:] - box[:2], SIDE, atol=1 / SIZE)
            assert (box[:2] >= np.array(FACE[:2]) - 0.5 / SIZE).all()
            assert (box[2:] <= np.array(FACE[2:]) + 0.5 / SIZE).all()
    again = regions(np.arange(8) % len(KINDS), (SIZE, SIZE), seed=1)
    np.testing.assert_array_equal(again, masks)
    other = regions(np.arange(8) % len(KINDS), (SIZE, SIZE), seed=2)
    assert (other[3] != masks[3]).any() and (other[2] == masks[2]).all()


def test_only_the_part_and_its_feathered_edge_change(masks, images):
    found = altered(images[0], images[1], masks)
    changed = (found != images[0]).any(3)
    near = np.asarray(within(jnp.asarray(masks), int(6 * FEATHER * SIZE) + 1))
    assert not (changed & ~near).any()
    assert all(changed[i][masks[i]].mean() > 0.9 for i in range(8))


def test_a_part_of_the_same_image_in_other_light_changes_nothing(masks, images):
    # Darker, and of less contrast: the colours are matched.
    other = np.round(images[0] * 0.5 + 20).astype(np.uint8)
    found = altered(images[0], other, masks).astype(int)
    assert np.abs(found - images[0]).max() <= 2


@pytest.mark.slow
def test_a_perfect_map_gets_one_everywhere(masks):
    found = measures(jnp.asarray(masks, jnp.float32), jnp.asarray(masks), KEYS)
    assert set(found) == {
        *("iou", "pointing", "tolerant_pointing", "energy"),
        *("found_at_1", "found_at_5"),
    }
    for values in found.values():
        np.testing.assert_allclose(values, 1, rtol=1e-6)


def test_the_opposite_of_a_perfect_map_gets_nothing(masks):
    opposite = 1 - jnp.asarray(masks, jnp.float32)
    found = measures(opposite, jnp.asarray(masks), KEYS)
    for name in ("iou", "pointing", "energy", "found_at_1", "found_at_5"):
        np.testing.assert_array_equal(found[name], 0)


def test_measures_are_those_of_a_plain_loop(masks):
    rng = np.random.default_rng(3)
    # All values differ, so that no lot is drawn.
    maps = rng.permutation(8 * SIZE**2).reshape(masks.shape).astype(np.float32)
    maps += 4000 * masks
    found = measures(jnp.asarray(maps), jnp.asarray(masks), KEYS)
    for i, (saliency, mask) in enumerate(zip(maps, masks, strict=True)):
        order = np.argsort(-saliency.reshape(-1))
        inside = mask.reshape(-1)[order]
        chosen = np.zeros(SIZE**2, bool)
        chosen[order[: mask.sum()]] = True
        chosen = chosen.reshape(mask.shape)
        iou = (chosen & mask).sum() / (chosen | mask).sum()
        np.testing.assert_allclose(found["iou"][i], iou, rtol=1e-6)
        assert found["pointing"][i] == inside[0]
        row, column = np.unravel_index(order[0], mask.shape)
        rows, columns = np.nonzero(mask)
        distance = np.hypot(rows - row, columns - column).min()
        assert found["tolerant_pointing"][i] == (distance <= round(SIZE / 14))
        energy = saliency[mask].sum() / saliency.sum()
        np.testing.assert_allclose(found["energy"][i], energy, rtol=1e-5)
        for area, name in ((0.01, "found_at_1"), (0.05, "found_at_5")):
            left, hits = round(area * (~mask).sum()), 0
            for is_inside in inside:
                left -= not is_inside
                if left < 0:
                    break
                hits += is_inside
            np.testing.assert_allclose(found[name][i], hits / mask.sum(), rtol=1e-6)


@pytest.mark.slow
def test_a_flat_map_finds_as_much_as_chance(masks):
    many = jnp.broadcast_to(jnp.asarray(masks[:1]), (400, SIZE, SIZE))
    keys = jax.random.split(jax.random.key(5), 400)
    found = found_at(jnp.zeros(many.shape), many, keys, false_area=0.05)
    # The mean of 400 games, each of 200 pixels.
    assert abs(found.mean() - 0.05) < 0.005


def test_an_area_is_a_share(masks):
    with pytest.raises(InputError, match="^false_area is 2.0, expected a number from"):
        found_at(jnp.zeros(masks.shape), jnp.asarray(masks), KEYS, false_area=2.0)
