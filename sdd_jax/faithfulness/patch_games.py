"""Patch games: a part of a face is another person's; does a map find it?

Images are aligned, uint8 RGB, [games, height, width, 3]: the same place shows the same
part of a face. The part is matched in colour and feathered, so that neither its edge
nor its brightness gives it away. NumPy, on the host; the measures are of JAX arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt8

from sdd_jax import checks
from sdd_jax.faithfulness import ground_truth

# Top, left, bottom and right of the parts, in parts of an image that is aligned to
# ArcFace's template, whose eyes, nose and mouth they hold.
PARTS = {
    "eyes": (0.36, 0.19, 0.57, 0.81),
    "nose": (0.50, 0.36, 0.74, 0.64),
    "mouth": (0.72, 0.32, 0.94, 0.68),
}
SQUARE = "square"  # of a random place inside FACE
FACE = (0.2, 0.15, 0.95, 0.85)  # from the brows to the chin
KINDS = (*PARTS, SQUARE)
SIDE = 0.3  # of the square, in parts of the image
FEATHER = 0.02  # standard deviation, in parts of the width
TOLERANCE = 1 / 14  # in parts of the width: 8 pixels of 112
FALSE_AREAS = (0.01, 0.05)


def regions(
    kinds: Int[np.ndarray, " games"], size: tuple[int, int], *, seed: int
) -> Bool[np.ndarray, "games height width"]:
    """Return where each game's part is.

    Args:
        kinds: places in KINDS.
        size: the images' height and width.
        seed: of the squares' places.
    """
    random = np.random.default_rng(seed)
    corners = random.uniform(FACE[:2], np.array(FACE[2:]) - SIDE, (len(kinds), 2))
    squares = np.concatenate([corners, corners + SIDE], axis=1)
    known = np.array([*PARTS.values(), (0, 0, 0, 0)], np.float64)
    is_square = kinds == KINDS.index(SQUARE)
    boxes = np.where(is_square[:, None], squares, known[kinds])
    ends = np.round(boxes * np.tile(size, 2)).astype(int)
    top, left, bottom, right = (end[:, None] for end in ends.T)
    rows, columns = (np.arange(number) for number in size)
    in_rows, in_columns = (
        (top <= rows) & (rows < bottom),
        (left <= columns) & (columns < right),
    )
    return in_rows[:, :, None] & in_columns[:, None, :]


def altered(
    images: UInt8[np.ndarray, "games height width 3"],
    donors: UInt8[np.ndarray, "games height width 3"],
    masks: Bool[np.ndarray, "games height width"],
) -> UInt8[np.ndarray, "games height width 3"]:
    """Return the images with the masked parts of the donors'.

    Each channel of a part gets the mean and the deviation that the image's own part
    has; the mask's edge is feathered by a Gaussian of FEATHER.
    """
    inside = masks[..., None].astype(np.float64)
    number = inside.sum((1, 2), keepdims=True)

    def moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (pixels * inside).sum((1, 2), keepdims=True) / number
        variance = (inside * (pixels - mean) ** 2).sum((1, 2), keepdims=True) / number
        return mean, np.sqrt(variance)

    own, theirs = images.astype(np.float64), donors.astype(np.float64)
    (mean, deviation), (other_mean, other_deviation) = moments(own), moments(theirs)
    ratio = deviation / np.maximum(other_deviation, 1)
    matched = (theirs - other_mean) * ratio + mean
    rows, columns = (_feathering(number) for number in masks.shape[1:])
    weights = np.einsum("hr,brc,wc->bhw", rows, masks.astype(np.float64), columns)
    mixed = own + weights[..., None] * (matched - own)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _feathering(number: int) -> Float[np.ndarray, "pixels same"]:
    distance = np.subtract.outer(np.arange(number), np.arange(number))
    weights = np.exp(-0.5 * (distance / (FEATHER * number)) ** 2)
    return weights / weights.sum(1, keepdims=True)


def measures(
    saliency: Float[Array, "games height width"],
    masks: Bool[Array, "games height width"],
    keys: Key[Array, " games"],
) -> dict[str, Float[Array, " games"]]:
    """Return iou, pointing, tolerant_pointing, energy, and what is found.

    `found_at_1` and `found_at_5` are `found_at` of FALSE_AREAS. All are from 0 to 1; of
    a perfect map all are 1.

    Args:
        saliency: larger where two images differ more.
        masks: the truth.
        keys: each game's own, for ties.
    """
    hits = ground_truth.relevance_rank(saliency, masks, keys)
    near = within(masks, round(TOLERANCE * masks.shape[2]))
    result = {
        # Both areas are the same: of a share r that lies inside, r / (2 - r).
        "iou": hits / (2 - hits),
        "pointing": ground_truth.pointing_game(saliency, masks, keys),
        "tolerant_pointing": ground_truth.pointing_game(saliency, near, keys),
        "energy": ground_truth.energy_inside(saliency, masks),
    }
    for area in FALSE_AREAS:
        found = found_at(saliency, masks, keys, false_area=area)
        result[f"found_at_{round(100 * area)}"] = found
    return result


def within(
    masks: Bool[Array, "games height width"], pixels: int
) -> Bool[Array, "games height width"]:
    """Return the masks and what lies at most so many pixels from them."""
    offsets = np.arange(-pixels, pixels + 1)
    disc = (np.add.outer(offsets**2, offsets**2) <= pixels**2).astype(np.float32)
    found = jax.lax.conv_general_dilated(
        masks[..., None].astype(jnp.float32),
        jnp.asarray(disc)[:, :, None, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return found[..., 0] > 0.5


def found_at(
    saliency: Float[Array, "games height width"],
    masks: Bool[Array, "games height width"],
    keys: Key[Array, " games"],
    *,
    false_area: float,
) -> Float[Array, " games"]:
    """Return the share of the truth that is more salient than all but a false area.

    The most salient pixels are taken as long as no more than round(false_area of the
    pixels outside) lie outside; equally salient ones in the order of lots.

    Raises:
        InputError: the area is below 0 or above 1.

    References:
        Williford, May and Byrne, "Explainable Face Recognition", ECCV 2020, the
        inpainting game, whose maps are compared at the same false alarm area.
    """
    checks.require(false_area, checks.real(0, 1), "false_area")
    lots = jax.vmap(lambda key: jax.random.bits(key, saliency.shape[1:]))(keys)
    flat, lots, inside = (x.reshape(len(saliency), -1) for x in (saliency, lots, masks))
    order = jnp.lexsort((lots, -flat))
    is_inside = jnp.take_along_axis(inside, order, axis=1)
    outside = (~inside).sum(1, keepdims=True)
    limit = jnp.round(false_area * outside)
    taken = jnp.cumsum(~is_inside, axis=1) <= limit
    return (taken & is_inside).sum(1) / jnp.maximum(inside.sum(1), 1)
