"""Random changes to training images, uint8 RGB in and out; called under `jax.jit`.

What happens to an image follows from its own key alone, whatever it is batched with.
With every setting at zero the images come back as they were. Masking is what makes
deletion and retention mean something: a network that never saw a hidden region falls
for any.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key, Shaped, UInt8, UInt32

# Settings may be traced, so that one program serves all of them.
_Number = float | Float[Array, ""]
_Integer = int | Int[Array, ""]
_NUM_CHOICES = 9
_NUM_CELLS = 8  # Blobs are about an eighth of the image wide.


def augment(
    images: UInt8[Array, "batch height width 3"],
    keys: Key[Array, " batch"],
    *,
    mirror: _Number,
    max_shift: _Integer,
    max_gain: _Number,
    masking: _Number,
    max_masked: _Number = 0.5,
) -> UInt8[Array, "batch height width 3"]:
    """Return each image mirrored, shifted, re-lit and partly hidden at random.

    Args:
        images: The images.
        keys: One random key for each.
        mirror: The share of images that swap left and right.
        max_shift: Up to so many pixels each way; the edge is repeated.
        max_gain: Brightness and contrast are each multiplied by 1 - this to 1 + this.
        masking: The share of images of which a part is hidden, as blobs or single
            pixels, under black, the image's mean colour or noise (equally often).
        max_masked: The largest hidden part of an image; each lesser one is as likely.
    """
    change = functools.partial(
        _augment_one,
        mirror=mirror,
        max_shift=max_shift,
        max_gain=max_gain,
        masking=masking,
        max_masked=max_masked,
    )
    return jax.vmap(change)(images, keys)


def move_regions(
    regions: Bool[Array, "batch height width"],
    keys: Key[Array, " batch"],
    *,
    mirror: _Number,
    max_shift: _Integer,
) -> Bool[Array, "batch height width"]:
    """Return masks of images where `augment`, with the same keys, puts what they show.

    Args:
        regions: One mask an image.
        keys: As `augment` takes them.
        mirror: As `augment` takes it.
        max_shift: As `augment` takes it.
    """

    def move(region: Array, key: Array) -> Array:
        choices = _uniform(_drawn(key, region.shape)[:_NUM_CHOICES])
        moved = _move(region[..., None], choices[0] < mirror, choices[1:3], max_shift)
        return moved[..., 0]

    return jax.vmap(move)(regions, keys)


def _drawn(key: Key[Array, ""], size: tuple[int, ...]) -> UInt32[Array, " words"]:
    """Return all that is drawn for an image: choices, the blobs' grid, its pixels.

    One draw for everything, because drawing is what takes long, to compile and to run.
    """
    number = _NUM_CHOICES + _NUM_CELLS**2 + size[0] * size[1]
    return jax.random.bits(key, (number,), jnp.uint32)


def _augment_one(
    image: UInt8[Array, "height width 3"],
    key: Key[Array, ""],
    *,
    mirror: _Number,
    max_shift: _Integer,
    max_gain: _Number,
    masking: _Number,
    max_masked: _Number,
) -> UInt8[Array, "height width 3"]:
    """Return one image changed."""
    drawn = _drawn(key, image.shape)
    choices, cells, words = jnp.split(
        drawn, [_NUM_CHOICES, _NUM_CHOICES + _NUM_CELLS**2]
    )
    choices = _uniform(choices)
    grid = _uniform(cells).reshape(_NUM_CELLS, _NUM_CELLS)
    words = words.reshape(image.shape[:2])  # one a pixel, used as four bytes
    noise = (words[..., None] >> jnp.arange(0, 32, 8, dtype=jnp.uint32)) & 255
    noise = noise.astype(jnp.float32)

    image = _move(image, choices[0] < mirror, choices[1:3], max_shift)
    gains = 1 + max_gain * (2 * choices[3:5] - 1)
    pixels = _relight(image.astype(jnp.float32), gains)

    blobs = jax.image.resize(grid, words.shape, "linear")
    field = jnp.where(choices[5] < 0.5, blobs, noise[..., 3] / 256)
    hidden = field < _level(field, max_masked * choices[6])
    hidden &= choices[7] < masking
    black_or_mean = jnp.where(choices[8] < 1 / 3, 0.0, pixels.mean((0, 1)))
    fill = jnp.where(choices[8] < 2 / 3, black_or_mean, noise[..., :3])
    pixels = jnp.where(hidden[..., None], fill, pixels)
    return jnp.rint(pixels).astype(jnp.uint8)


def _uniform(words: UInt32[Array, " numbers"]) -> Float[Array, " numbers"]:
    """Return random words as numbers from 0 to 1, 1 excluded."""
    return (words >> 8).astype(jnp.float32) / 2**24


def _move(
    image: Shaped[Array, "height width channels"],
    mirrored: Bool[Array, ""],
    choices: Float[Array, "2"],
    max_shift: _Integer,
) -> Shaped[Array, "height width channels"]:
    """Return the image mirrored or not, then shifted, with its edge repeated."""
    height, width, _ = image.shape
    shift = jnp.floor(choices * (2 * max_shift + 1)).astype(jnp.int32) - max_shift
    rows = jnp.clip(jnp.arange(height) - shift[0], 0, height - 1)
    columns = jnp.clip(jnp.arange(width) - shift[1], 0, width - 1)
    columns = jnp.where(mirrored, width - 1 - columns, columns)
    return image[rows][:, columns]


def _relight(
    pixels: Float[Array, "height width 3"], gains: Float[Array, "2"]
) -> Float[Array, "height width 3"]:
    """Return the image with its brightness and its contrast multiplied."""
    brightness, contrast = gains
    pixels = pixels * brightness
    mean = pixels.mean()
    return jnp.clip((pixels - mean) * contrast + mean, 0, 255)


def _level(
    field: Float[Array, "height width"], part: Float[Array, ""]
) -> Float[Array, ""]:
    """Return the highest level below which no more than `part` of a field lies.

    The field is between 0 and 1. Halving the interval finds the level to 1/4096 in
    twelve passes, which cost far less than sorting every pixel.
    """

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        too_much = jnp.mean(field < middle) > part
        return jnp.where(too_much, low, middle), jnp.where(too_much, middle, high)

    return jax.lax.fori_loop(0, 12, halve, (jnp.float32(0), jnp.float32(1)))[0]
