"""RISE: the confidence under random masks, averaged where they keep a pixel."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks, keys
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import interpolation_weights
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.masked import MaskOf, sum_over_masks
from sdd_jax.types import CellGrid, Explanation

PROBABILITY = checks.real(0, 1, above=True, below=True)


def random_masks(
    image_keys: Key[Array, " batch"],
    size: tuple[int, int],
    *,
    cells: int,
    probability: float,
) -> MaskOf:
    """Return number -> random masks, float32 [batch, height, width], 0 to 1.

    Cells of random bits are upsampled bilinearly to one more cell than the image holds,
    and the image's own part of that starts up to a cell from the top left. An image's
    masks are drawn with its own key.

    Args:
        image_keys: one for each image.
        size: the images' height and width.
        cells: along each axis of the image.
        probability: of a cell being kept.
    """
    steps = [-(-pixels // cells) for pixels in size]  # a cell's pixels, rounded up
    weights = []
    for step in steps:
        stride = (cells + 1) * step / cells
        grid = CellGrid(offset=(stride - 1) / 2, stride=stride)
        whole = interpolation_weights((cells + 1) * step, cells, grid)
        weights.append(jnp.asarray(whole))

    def draw(key: Array, number: Array) -> Float[Array, "height width"]:
        for_bits, *for_starts = jax.random.split(jax.random.fold_in(key, number), 3)
        bits = jax.random.bernoulli(for_bits, probability, (cells, cells))
        rows, columns = (
            jax.lax.dynamic_slice_in_dim(
                whole, jax.random.randint(for_start, (), 0, step), pixels
            )
            for whole, for_start, step, pixels in zip(
                weights, for_starts, steps, size, strict=True
            )
        )
        return jnp.einsum(
            "hr,rc,wc->hw",
            rows,
            bits.astype(jnp.float32),
            columns,
            precision="highest",
        )

    return lambda number: jax.vmap(draw, in_axes=(0, None))(image_keys, number)


def rise(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_masks: int = 4000,
    cells: int = 7,
    probability: float = 0.5,
    score: str = "confidence",
    baseline: str = "black",
    block: int = 1,
) -> Explanation:
    """Return sum_i f(x m_i) m_i / (N p): what keeping a pixel is worth on average.

    An image's masks are drawn with its own key, so its map is the same in any batch.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: of the masks.
        num_masks: N; the paper takes 4000 for VGG16 and 8000 for ResNet50.
        cells: random bits along each axis of the image.
        probability: p, of a bit being 1.
        score: what f is, a name in `masked.SCORES`.
        baseline: a name in `masked.BASELINES`; the paper multiplies images by masks.
        block: how many masks are scored at a time; see `masked.sum_over_masks`.

    Raises:
        InputError: a number makes no sense, or a name is not known.

    References:
        Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of
        Black-box Models", BMVC 2018, section 3.
    """
    checks.require(cells, checks.whole(1), "cells")
    checks.require(probability, PROBABILITY, "probability")
    height, width = clean.images.shape[1:3]
    mask_of = random_masks(
        keys.per_image(key, len(clean.images)),
        (height, width),
        cells=cells,
        probability=probability,
    )
    total = sum_over_masks(
        model,
        clean,
        mask_of,
        num_masks,
        term=lambda number, mask, scores: scores[:, None, None] * mask,
        score=score,
        baseline=baseline,
        block=block,
    )
    return Explanation(total / (num_masks * probability))
