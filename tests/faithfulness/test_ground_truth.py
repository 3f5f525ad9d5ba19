import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.ground_truth import (
    energy_inside,
    pointing_game,
    random_value,
    relevance_rank,
)

MASK = np.zeros((4, 4), bool)
MASK[1:3, :2] = True


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def measured(saliency, mask):
    """Return all four measures, compiled, of maps that are each one image."""
    saliency, mask = jnp.asarray(saliency, jnp.float32), jnp.asarray(mask)

    @jax.jit
    def run(saliency, mask):
        own = keys(len(saliency))
        return (
            pointing_game(saliency, mask, own),
            energy_inside(saliency, mask),
            relevance_rank(saliency, mask, own),
            random_value(mask),
        )

    return np.stack(run(saliency, mask), axis=1)


def test_the_measures_by_hand():
    # 4 lies outside the mask, 3 and 1 inside, 2 outside, -5 everywhere else.
    saliency = np.full((4, 4), -5.0)
    saliency[0, 0], saliency[1, 0], saliency[3, 3], saliency[2, 1] = 4, 3, 2, 1
    one = np.zeros((4, 4))
    one[2, 1] = 1
    # All four of the mask's four most salient are known: 4, 3, 2 and 1.
    found = measured([saliency, one], [MASK, MASK])
    np.testing.assert_allclose(found[0], [0, 0.4, 0.5, 0.25])
    np.testing.assert_allclose(found[1, :2], [1, 1])


@pytest.mark.slow
def test_a_perfect_map_its_inverse_and_one_pixel():
    perfect, inverse = MASK.astype(float), -MASK.astype(float)
    shifted = 1 + inverse
    found = measured([perfect, inverse, shifted], [MASK] * 3)
    np.testing.assert_allclose(found[0], [1, 1, 1, 0.25])
    # Without positive values the energy is even.
    np.testing.assert_allclose(found[1], [0, 0.25, 0, 0.25])
    np.testing.assert_allclose(found[2], [0, 0, 0, 0.25])


def test_the_measures_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    saliency = rng.normal(0, 1, (8, 5, 6)).astype(np.float32)
    masks = rng.random((8, 5, 6)) < np.linspace(0.1, 0.9, 8)[:, None, None]
    found = measured(saliency, masks)
    for values, mask, row in zip(saliency, masks, found, strict=True):
        pixels = [(r, c) for r in range(5) for c in range(6)]
        pixels.sort(key=lambda at: -values[at])
        number = sum(mask[at] for at in pixels)
        positive = sum(max(float(values[at]), 0) for at in pixels)
        inside = sum(max(float(values[at]), 0) for at in pixels if mask[at])
        expected = (
            mask[pixels[0]],
            inside / positive,
            sum(mask[at] for at in pixels[:number]) / number,
            number / 30,
        )
        np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "noise"])
def test_a_map_of_nothing_gets_what_a_random_map_does(kind):
    number = 2000
    noise = np.random.default_rng(0).random((number, 4, 4))
    saliency = noise if kind == "noise" else np.ones((number, 4, 4))
    point, energy, rank, chance = measured(saliency, [MASK] * number).T
    assert (chance == 0.25).all()
    # Four standard errors.
    for values in (point, energy, rank):
        error = 4 * values.std() / np.sqrt(number)
        np.testing.assert_allclose(values.mean(), 0.25, atol=error + 1e-6)


def test_masks_of_nothing_and_of_everything():
    noise = np.random.default_rng(0).random((2, 4, 4))
    masks = [np.zeros((4, 4), bool), np.ones((4, 4), bool)]
    np.testing.assert_allclose(measured(noise, masks), [[0] * 4, [1] * 4], rtol=1e-6)


def test_of_a_broken_map_energy_is_even_and_the_most_salient_unknown():
    broken = jnp.full((1, 4, 4), jnp.nan)
    mask = jnp.asarray(MASK[None])
    np.testing.assert_array_equal(energy_inside(broken, mask), [0.25])
    for measure in (pointing_game, relevance_rank):
        with pytest.raises(
            InputError, match="^the saliency of 1 of 1 images holds NaN"
        ):
            measure(broken, mask, keys(1))
