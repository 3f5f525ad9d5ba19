"""What takes a masked pixel's place: `fill(images, keep, key)` -> filled images.

Images are uint8 RGB; `keep` is True where a pixel stays as it is; a fill that draws
takes each image's own key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Key, UInt8

_BLUR = 0.1  # sigma, as a part of the image's size
_NOISE = 0.01 * 255  # of `linear`, a standard deviation in grey levels
_TINY = 8  # pixels of a side; of a smaller image the mean is guess enough
_NUM_STEPS = 20


def black(
    images: UInt8[Array, "batch height width 3"],
    keep: Bool[Array, "batch height width"],
    key: Key[Array, " batch"],
) -> UInt8[Array, "batch height width 3"]:
    """Return black where pixels are masked: the paper's "set to 0"."""
    return jnp.where(keep[..., None], images, jnp.uint8(0))


def mean(
    images: UInt8[Array, "batch height width 3"],
    keep: Bool[Array, "batch height width"],
    key: Key[Array, " batch"],
) -> UInt8[Array, "batch height width 3"]:
    """Return each image's own mean colour, to the nearest whole number."""
    colour = images.astype(jnp.float32).mean((1, 2), keepdims=True)
    return _where(keep, images, colour)


def blur(
    images: UInt8[Array, "batch height width 3"],
    keep: Bool[Array, "batch height width"],
    key: Key[Array, " batch"],
) -> UInt8[Array, "batch height width 3"]:
    """Return the intact image, blurred; sigma is a tenth of its height and width.

    The Gaussian's weights are renormalised at the border.
    """
    rows, columns = (_gaussian(size) for size in images.shape[1:3])
    blurred = jnp.einsum(
        "ih,bhwc,jw->bijc",
        rows,
        images.astype(jnp.float32),
        columns,
        precision="highest",
    )
    return _where(keep, images, blurred)


def linear(
    images: UInt8[Array, "batch height width 3"],
    keep: Bool[Array, "batch height width"],
    key: Key[Array, " batch"],
) -> UInt8[Array, "batch height width 3"]:
    """Return the noisy linear imputation of the masked pixels.

    Each is the mean of its neighbours inside the image, straight ones with weight 1/6,
    diagonal ones with 1/12; all masked pixels are solved for together, by `_NUM_STEPS`
    of conjugate gradients from a coarse solution, to about a grey level. Then comes
    Gaussian noise of 1 % of the range of pixels. An image without any pixel that is
    kept is its mean colour, and noise.

    References:
        Rong, Leemann, Borisov, Kasneci and Kasneci, "A Consistent and Efficient
        Evaluation Strategy for Attribution Methods", ICML 2022, section 4.2.
    """
    known = keep[..., None].astype(jnp.float32)
    solved = _solved(images.astype(jnp.float32), known)
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(key)
    return _where(keep, images, solved + _NOISE * noise)


Fill = Callable[[Array, Array, Array], Array]
FILLS: dict[str, Fill] = {
    "black": black,
    "mean": mean,
    "blur": blur,
    "linear": linear,
}

# What a result says of them.
IN_WORDS = {
    "black": "RGB 0, 0, 0",
    "mean": "the image's own mean colour, rounded",
    "blur": "the image, blurred by a Gaussian; sigma is a tenth of its size",
    "linear": "the mean of the neighbours, solved jointly, and 1 % of noise",
}


def _where(keep: Array, images: Array, filled: Float[Array, "..."]) -> Array:
    whole = jnp.clip(jnp.round(filled), 0, 255).astype(images.dtype)
    return jnp.where(keep[..., None], images, whole)


def _gaussian(size: int) -> Float[np.ndarray, "size size"]:
    """Return the matrix that blurs one axis."""
    distance = np.subtract.outer(np.arange(size), np.arange(size)) / (_BLUR * size)
    weights = np.exp(-0.5 * distance**2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _neighbours(x: Float[Array, "batch height width n"]) -> Array:
    """Return the weighted sum of each pixel's neighbours inside the image."""
    # [1 2 1] along rows and then columns, over 12, are the neighbours' weights, and a
    # third for the pixel itself.
    total = x
    for axis in (1, 2):
        widths = [(int(place == axis), int(place == axis)) for place in range(4)]
        padded = jnp.pad(total, widths)
        before, after = (
            jax.lax.slice_in_dim(padded, start, start + x.shape[axis], axis=axis)
            for start in (0, 2)
        )
        total = before + 2 * total + after
    return total / 12 - x / 3


def _guess(
    images: Float[Array, "batch height width 3"],
    known: Float[Array, "batch height width 1"],
) -> Float[Array, "batch height width 3"]:
    """Return the solution for the image at half its size; of a tiny one, its mean."""
    batch, height, width, _ = images.shape
    sums = jnp.concatenate([images * known, known], axis=3)
    if min(height, width) <= _TINY:
        sums = sums.sum((1, 2), keepdims=True)
        mean = sums[..., :3] / jnp.maximum(sums[..., 3:], 1)
        whole = images.mean((1, 2), keepdims=True)
        guess = jnp.where(sums[..., 3:] > 0, mean, whole)
        return jnp.broadcast_to(guess, images.shape)
    sums = jnp.pad(sums, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = (size // 2 for size in sums.shape[1:3])
    sums = sums.reshape(batch, rows, 2, columns, 2, 4).sum((2, 4))
    number = sums[..., 3:]
    # Where nothing is known the colour does not matter, but for images without any.
    halved = jnp.where(
        number > 0,
        sums[..., :3] / jnp.maximum(number, 1),
        images.mean((1, 2), keepdims=True),
    )
    solved = _solved(halved, jnp.minimum(number, 1))
    doubled = jax.image.resize(solved, (batch, 2 * rows, 2 * columns, 3), "linear")
    return doubled[:, :height, :width]


def _solved(
    images: Float[Array, "batch height width 3"],
    known: Float[Array, "batch height width 1"],
) -> Float[Array, "batch height width 3"]:
    """Return the images with every pixel that is not known the mean of its neighbours.

    Conjugate gradients, one system for each image and channel.
    """
    masked = 1 - known
    weights = _neighbours(jnp.ones_like(known))

    def apply(x: Array) -> Array:
        return masked * (weights * x - _neighbours(masked * x))

    def dot(a: Array, b: Array) -> Array:
        return (a * b).sum((1, 2), keepdims=True)

    # Once the error is below this, steps would divide rounding errors by each other.
    enough = 1e-6 * images.shape[1] * images.shape[2]

    def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, residual, direction, error = state
        applied = apply(direction)
        goes_on = error > enough
        length = jnp.where(goes_on, error / dot(direction, applied), 0)
        x, residual = x + length * direction, residual - length * applied
        left = dot(residual, residual)
        ratio = jnp.where(goes_on, left / error, 0)
        return x, residual, residual + ratio * direction, left

    guess = masked * _guess(images, known)
    residual = masked * _neighbours(known * images) - apply(guess)
    state = guess, residual, residual, dot(residual, residual)
    solved = jax.lax.fori_loop(0, _NUM_STEPS, step, state)[0]
    return known * images + solved
