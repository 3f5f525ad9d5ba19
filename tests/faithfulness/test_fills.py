import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.faithfulness import FILLS, fills

KEYS = jax.random.split(jax.random.key(0), 3)


@pytest.fixture(scope="module")
def faces():
    """Three smooth images with noise on them, 40 x 34."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (3, 5, 5, 3)).astype(np.float32)
    smooth = jax.image.resize(jnp.asarray(coarse), (3, 40, 34, 3), "cubic")
    noisy = smooth + rng.normal(0, 10, smooth.shape)
    return jnp.clip(jnp.round(noisy), 0, 255).astype(jnp.uint8)


@pytest.fixture(scope="module")
def holes():
    """A large hole; single pixels; half of all pixels and the border."""
    keep = np.ones((3, 40, 34), bool)
    keep[0, 8:32, 5:30] = False
    keep[1, ::3, ::3] = False
    keep[2] = np.random.default_rng(1).random((40, 34)) < 0.5
    keep[2, :, 0] = keep[2, 0] = False
    return jnp.asarray(keep)


def test_every_fill_has_its_words():
    assert list(fills.IN_WORDS) == list(FILLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILLS)
def test_what_is_kept_stays_and_the_rest_depends_on_its_own_image_alone(
    name, faces, holes
):
    fill = jax.jit(FILLS[name])
    filled = fill(faces, holes, KEYS)
    assert filled.dtype == jnp.uint8 and filled.shape == faces.shape
    np.testing.assert_array_equal(filled[holes], faces[holes])
    moved = fill(faces[::-1], holes[::-1], KEYS[::-1])
    np.testing.assert_array_equal(moved[::-1], filled)


def test_black_is_zero(faces, holes):
    assert not np.asarray(FILLS["black"](faces, holes, KEYS))[~holes].any()


def test_mean_is_each_images_own_colour():
    # Means (1.5, 100, 25) and (0.5, 255, 3): halves go to the even number.
    images = jnp.array(
        [
            [[[1, 100, 0]], [[2, 100, 50]]],
            [[[0, 255, 2]], [[1, 255, 4]]],
        ],
        jnp.uint8,
    )
    filled = FILLS["mean"](images, jnp.zeros((2, 2, 1), bool), KEYS[:2])
    np.testing.assert_array_equal(filled[:, 0, 0], [[2, 100, 25], [0, 255, 3]])
    np.testing.assert_array_equal(filled[:, 1, 0], filled[:, 0, 0])


def test_blur_is_a_gaussian_of_the_intact_image(faces, holes):
    filled = FILLS["blur"](faces, holes, KEYS)
    assert not np.array_equal(filled, faces)
    y, x = np.mgrid[:40, :34]
    for i, row, column in ((0, 20, 15), (1, 0, 0), (2, 39, 0)):
        if holes[i, row, column]:
            continue
        weights = np.exp(-((y - row) ** 2) / (2 * 4.0**2))
        weights *= np.exp(-((x - column) ** 2) / (2 * 3.4**2))
        expected = np.average(np.asarray(faces[i]), axis=(0, 1), weights=weights)
        np.testing.assert_allclose(filled[i, row, column], expected, atol=0.51)


def imputed(image, keep):
    """Solve for the masked pixels of one image exactly, as dense equations."""
    height, width = keep.shape
    places = [(y, x) for y in range(height) for x in range(width) if not keep[y, x]]
    number = {place: i for i, place in enumerate(places)}
    left, right = np.zeros((len(places),) * 2), np.zeros((len(places), 3))
    for (y, x), i in number.items():
        for dy, dx in np.ndindex(3, 3):
            other = y + dy - 1, x + dx - 1
            inside = 0 <= other[0] < height and 0 <= other[1] < width
            if other == (y, x) or not inside:
                continue
            weight = 1 / 6 if 1 in (dy, dx) else 1 / 12
            left[i, i] += weight
            if other in number:
                left[i, number[other]] -= weight
            else:
                right[i] += weight * image[other]
    solved = image.astype(float)
    for place, colour in zip(places, np.linalg.solve(left, right), strict=True):
        solved[place] = colour
    return solved


@pytest.mark.slow
def test_linear_solves_for_all_masked_pixels_together(faces, holes):
    known = holes[..., None].astype(jnp.float32)
    solved = jax.jit(fills._solved)(faces.astype(jnp.float32), known)
    for i in range(3):
        exact = imputed(np.asarray(faces[i]), np.asarray(holes[i]))
        error = np.abs(np.asarray(solved[i]) - exact)
        assert error.max() < 1.5
        assert error[~np.asarray(holes[i])].mean() < 0.3


@pytest.mark.slow
def test_linears_noise_is_one_per_cent_of_the_range_and_the_keys(faces, holes):
    grey = jnp.full((1, 40, 34, 3), 128, jnp.uint8)
    keep = jnp.asarray(holes[:1])
    first, again, other = (
        np.asarray(FILLS["linear"](grey, keep, KEYS[i : i + 1]), float)[~keep]
        for i in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert abs(first.mean() - 128) < 0.3
    # Rounding to whole numbers adds a twelfth to the variance.
    assert abs(first.std() - np.sqrt(2.55**2 + 1 / 12)) < 0.2


@pytest.mark.slow
def test_an_image_without_a_pixel_left_is_its_mean_and_noise(faces):
    nothing = jnp.zeros((3, 40, 34), bool)
    filled = np.asarray(FILLS["linear"](faces, nothing, KEYS), float)
    colours = np.asarray(faces, float).mean((1, 2))
    np.testing.assert_allclose(filled.mean((1, 2)), colours, atol=0.5)
    assert filled.std((1, 2)).max() < 3
