import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.infidelity import (
    Squares,
    best_scale,
    draw_squares,
    foretold,
    infidelity,
    log_differences,
)

# As the runs do; operation by operation it takes seconds.
drawn = jax.jit(
    draw_squares, static_argnums=(1, 2), static_argnames=("num_draws", "sides")
)
KEYS = jax.random.split(jax.random.key(0), 3)
WEIGHTS = np.random.default_rng(1).normal(0, 1, (8, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (3, 8, 6, 3), np.uint8))


def linear(images, targets):
    """Return a log-probability that is a sum over pixels, with the target's sign."""
    shown = (images.astype(jnp.float32).sum(3) / 255 * WEIGHTS).sum((1, 2))
    return jnp.where(targets == 0, shown, -shown)


def judged(answer, images, maps, fill="mean", targets=(0, 0, 0), num_draws=20):
    """Return infidelity and its scale of maps, [methods, batch, height, width]."""
    squares = drawn(KEYS, 8, 6, num_draws=num_draws)

    @jax.jit
    def run(images, maps, targets, squares):
        differences = log_differences(
            answer,
            images,
            targets,
            squares,
            KEYS,
            fill=fill,
            intact=answer(images, targets),
        )
        return foretold(maps, images, squares, KEYS, fill=fill), differences

    found = run(images, jnp.stack(maps), jnp.array(targets), squares)
    dots, differences = map(np.asarray, found)
    return infidelity(dots, differences), best_scale(dots, differences)


def test_infidelity_by_hand():
    # 4 x 4 pixels, all 255 but for a dark one; squares of two pixels, under black.
    images = jnp.full((1, 4, 4, 3), 255, jnp.uint8).at[0, 1, 1].set(0)
    squares = Squares(*(jnp.array(v) for v in ([[0], [2]], [[0], [2]], [[2], [2]])))
    saliency = jnp.arange(16.0).reshape(1, 1, 4, 4)
    dots = foretold(saliency, images, squares, KEYS[:1], fill="black")
    # 3 (0 + 1 + 4), without the dark pixel's 5; 3 (10 + 11 + 14 + 15).
    np.testing.assert_allclose(dots[0, :, 0], [15, 150], rtol=1e-6)

    def answer(images, targets):
        return images.astype(jnp.float32).mean((1, 2, 3)) / 255 * 16

    differences = log_differences(
        answer,
        images,
        jnp.zeros(1, int),
        squares,
        KEYS[:1],
        fill="black",
        intact=jnp.array([15.0]),
    )
    np.testing.assert_allclose(differences[:, 0], [3, 4], rtol=1e-6)
    # With dots of 1 and 2 beta is (3 + 8) / 5, and 0.8^2 and 0.4^2 are left.
    dots, differences = np.array([[[1.0], [2]]]), np.array([[3.0], [4]])
    np.testing.assert_allclose(best_scale(dots, differences), [[2.2]])
    np.testing.assert_allclose(infidelity(dots, differences), [[0.4]])


@pytest.mark.parametrize("fill", ["black", "mean", "linear"])
def test_the_weights_of_a_linear_network_are_perfect_in_any_unit(images, fill):
    perfect = jnp.broadcast_to(WEIGHTS, (3, 8, 6))
    constant = jnp.ones((3, 8, 6))
    nothing = jnp.zeros((3, 8, 6))
    one = nothing.at[:, 2, 2].set(1)
    maps = [perfect, 5 * perfect, -perfect, constant, one, nothing]
    found, beta = judged(linear, images, maps, fill=fill)
    np.testing.assert_allclose(found[:3], 0, atol=1e-6)
    np.testing.assert_allclose(beta[:3], [[1] * 3, [0.2] * 3, [-1] * 3], rtol=1e-4)
    assert (found[3:] > 0.1).all()
    assert (beta[5] == 0).all() and (found[5] >= found[4]).all()
    assert (found[5] >= found[3]).all()


def test_the_targets_are_the_networks(images):
    perfect = [jnp.broadcast_to(WEIGHTS, (3, 8, 6))]
    found, beta = judged(linear, images, perfect, targets=(0, 1, 0))
    np.testing.assert_allclose(found, 0, atol=1e-6)
    np.testing.assert_allclose(beta[0], [1, -1, 1], rtol=1e-4)


def test_infidelity_is_that_of_a_plain_loop(images):
    rng = np.random.default_rng(2)
    maps = [jnp.asarray(rng.normal(0, 1, (3, 8, 6)), jnp.float32) for _ in range(2)]

    def answer(images, targets):
        return jnp.tanh(linear(images, targets))

    found, beta = judged(answer, images, maps)
    squares = drawn(KEYS, 8, 6, num_draws=20)
    for i in range(3):
        image = np.asarray(images[i], np.float64)
        changes, dots = [], []
        for d in range(20):
            top, left, side = (int(each[d, i]) for each in squares)
            filled = image.copy()
            mean = np.round(image.mean((0, 1)))
            filled[top : top + side, left : left + side] = mean
            before, after = (
                np.tanh((each.sum(2) / 255 * WEIGHTS).sum()) for each in (image, filled)
            )
            changes.append(before - after)
            change = (image - filled).sum(2) / 255
            dots.append([(change * maps[m][i]).sum() for m in range(2)])
        for m in range(2):
            own = [row[m] for row in dots]
            scale = sum(a * b for a, b in zip(own, changes, strict=True))
            scale /= sum(a * a for a in own)
            errors = [(scale * a - b) ** 2 for a, b in zip(own, changes, strict=True)]
            np.testing.assert_allclose(beta[m, i], scale, rtol=1e-4)
            np.testing.assert_allclose(found[m, i], np.mean(errors), atol=1e-6)


def test_squares_have_every_side_and_place_that_fits():
    squares = drawn(
        jax.random.split(jax.random.key(0), 50), 8, 6, num_draws=40, sides=(0.2, 0.5)
    )
    top, left, side = map(np.asarray, squares)
    assert top.shape == left.shape == side.shape == (40, 50)
    # 0.2 of six pixels is 1.2, 0.5 are 3.
    np.testing.assert_array_equal(np.unique(side), [1, 2, 3])
    for each in (1, 2, 3):
        np.testing.assert_array_equal(np.unique(top[side == each]), range(9 - each))
        np.testing.assert_array_equal(np.unique(left[side == each]), range(7 - each))


def test_an_images_squares_are_its_keys():
    whole = drawn(KEYS, 8, 6, num_draws=5)
    alone = drawn(KEYS[1:2], 8, 6, num_draws=5)
    for a, b in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(a[:, 1:2], b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "^num_draws is 0, expected a whole number"),
        ({"sides": (0.1, 1.5)}, "^the largest side is 1.5, expected a number"),
        ({"sides": (0.5, 0.2)}, "^the smallest side is 0.5, expected a number"),
    ],
)
def test_no_draw_and_impossible_sides_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        draw_squares(KEYS, 8, 6, **options)


def test_an_unknown_fill_is_refused(images):
    squares = drawn(KEYS, 8, 6, num_draws=1)
    with pytest.raises(InputError, match="^unknown fill 'pink'"):
        foretold(jnp.zeros((1, 3, 8, 6)), images, squares, KEYS, fill="pink")
    with pytest.raises(InputError, match="^unknown fill 'pink'"):
        log_differences(
            linear,
            images,
            jnp.zeros(3, int),
            squares,
            KEYS,
            fill="pink",
            intact=jnp.zeros(3),
        )
