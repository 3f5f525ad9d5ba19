"""Does a map foretell what filling a random square does to the log-probability?

Three steps. The squares are drawn; what filling them does is asked of the network once,
for all methods; what each map foretells needs no network. Then the host compares.
Differences of images are in units of the range of pixels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt8

from sdd_jax import checks
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.metrics import Values

NUM_DRAWS = 50
SIDES = (0.1, 0.4)  # of the image's shorter side


class Squares(NamedTuple):
    """Squares inside images, in pixels; int32 [draws, batch]."""

    top: Any  # the first row
    left: Any  # the first column
    side: Any


def draw_squares(
    keys: Key[Array, " batch"],
    height: int,
    width: int,
    *,
    num_draws: int = NUM_DRAWS,
    sides: tuple[float, float] = SIDES,
) -> Squares:
    """Return random squares that lie inside an image.

    A side is any whole number of pixels from the smallest to the largest, a place any
    that fits, each with the same probability.

    Args:
        keys: each image's own.
        height: of the images.
        width: of the images.
        num_draws: squares an image.
        sides: the smallest and the largest, as parts of the image's shorter side,
            rounded to whole pixels, at least one.

    Raises:
        InputError: there is no draw, or the sides do not lie between 0 and 1.
    """
    checks.require(num_draws, checks.whole(1), "num_draws")
    checks.require(sides[1], checks.real(0, 1, above=True), "the largest side")
    checks.require(sides[0], checks.real(0, sides[1]), "the smallest side")
    low, high = (max(1, round(side * min(height, width))) for side in sides)

    def draw(key: Array) -> Squares:
        shape = (num_draws,)
        of_side, of_top, of_left = jax.random.split(key, 3)
        side = jax.random.randint(of_side, shape, low, high + 1)
        top = jax.random.randint(of_top, shape, 0, height - side + 1)
        left = jax.random.randint(of_left, shape, 0, width - side + 1)
        return Squares(top, left, side)

    return jax.tree.map(jnp.transpose, jax.vmap(draw)(keys))


def log_differences(
    answer: Callable[[Array, Array], Array],
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    squares: Squares,
    keys: Key[Array, " batch"],
    *,
    fill: str,
    intact: Float[Array, " batch"],
) -> Float[Array, "draws batch"]:
    """Return f(x) - f(x - I), f the log-probability: the network's part of infidelity.

    It does not depend on the method. The program is compiled once, and its memory is
    that of one batch.

    Args:
        answer: images, targets -> the target's log-probability, [batch].
        images: x, RGB.
        targets: the classes the images are explained for.
        squares: from `draw_squares`.
        keys: each image's own, for fills that draw.
        fill: in `FILLS`; x - I has it in the square.
        intact: f(x).

    Raises:
        InputError: the fill is not known.
    """
    checks.require_names((fill,), FILLS, "fill")

    def run(square: Squares) -> Array:
        return intact - answer(_filled(images, square, keys, fill), targets)

    return jax.lax.map(run, squares)


def foretold(
    saliency: Float[Array, "methods batch height width"],
    images: UInt8[Array, "batch height width 3"],
    squares: Squares,
    keys: Key[Array, " batch"],
    *,
    fill: str,
) -> Float[Array, "methods draws batch"]:
    """Return I . phi, each method's part of infidelity.

    I is the image minus the fill in the square, in units of the range of pixels, summed
    over the channels; phi the map.

    Args:
        saliency: phi, of each method.
        images: as in `log_differences`.
        squares: as there.
        keys: as there.
        fill: as there.

    Raises:
        InputError: the fill is not known.
    """
    checks.require_names((fill,), FILLS, "fill")

    def run(square: Squares) -> Array:
        filled = _filled(images, square, keys, fill)
        change = images.astype(jnp.float32) - filled.astype(jnp.float32)
        return jnp.einsum(
            "bhw,mbhw->mb", change.sum(3) / 255, saliency, precision="highest"
        )

    return jax.lax.map(run, squares).swapaxes(0, 1)


def best_scale(
    foretold: Float[np.ndarray, "*methods draws images"],
    differences: Float[np.ndarray, "draws images"],
) -> Values:
    """Return the beta that makes infidelity least; 0 where a map foretells nothing.

    Where it is below 0, the map shows what speaks against the target.
    """
    foretold, differences = _float64(foretold, differences)
    squares = (foretold**2).sum(-2)
    products = (foretold * differences).sum(-2)
    return products / np.where(squares > 0, squares, 1)


def infidelity(
    foretold: Float[np.ndarray, "*methods draws images"],
    differences: Float[np.ndarray, "draws images"],
) -> Values:
    """Return the mean of (beta I . phi - (f(x) - f(x - I)))^2; lower is better.

    beta is each image's `best_scale`, so a map's unit does not matter; nor does its
    sign. On the host, in float64.

    Args:
        foretold: I . phi, from `foretold`.
        differences: f(x) - f(x - I), from `log_differences`.

    References:
        Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (In)fidelity and Sensitivity
        of Explanations", NeurIPS 2019, definition 2.1.
    """
    beta = best_scale(foretold, differences)[..., None, :]
    foretold, differences = _float64(foretold, differences)
    return ((beta * foretold - differences) ** 2).mean(-2)


def _filled(images: Array, square: Squares, keys: Array, fill: str) -> Array:
    """Return images with one square of each filled."""
    return FILLS[fill](images, ~_inside(square, *images.shape[1:3]), keys)


def _inside(
    square: Squares, height: int, width: int
) -> Bool[Array, "batch height width"]:
    def within(start: Array, size: int) -> Array:
        places = jnp.arange(size) - start[:, None]
        return (places >= 0) & (places < square.side[:, None])

    rows, columns = within(square.top, height), within(square.left, width)
    return rows[:, :, None] & columns[:, None, :]


def _float64(*values: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(each, np.float64) for each in values]
