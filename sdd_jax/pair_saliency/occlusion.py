"""Occlusion: what a covered window of the probe takes from the cosine."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.covered import covered_cosines
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.masked import require_options
from sdd_jax.types import CellGrid, Explanation

PART = checks.real(0, 1, above=True)


def occlusion(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    cells: int = 7,
    window: float = 2 / 7,
    baseline: str = "mean",
) -> Explanation:
    """Return how much the cosine falls when a window of the probe is covered.

    The windows' middles are a grid of cells x cells over the image, between which the
    map is bilinear.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        cells: windows along each axis.
        window: the square's side, as a part of the image's.
        baseline: what covers, a name in `masked.BASELINES`.

    Raises:
        InputError: a number is out of range, or a name is not known.

    References:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
        ECCV 2014, section 4.2, there for the score of a class.
    """
    options = dict(cells=cells, window=window, baseline=baseline)
    return Explanation(-rises(model, pair, both=False, **options))


def rises(
    model: FaceClassifier,
    pair: PairPass,
    *,
    both: bool,
    cells: int,
    window: float,
    baseline: str,
) -> Float[Array, "batch height width"]:
    """Return what the cosine gains under each window, at the images' resolution.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        both: cover the reference as well.
        cells: as for `occlusion`.
        window: likewise.
        baseline: likewise.

    Raises:
        InputError: a number is out of range, or a name is not known.
    """
    checks.require(cells, checks.whole(1), "cells")
    checks.require(window, PART, "window")
    require_options(score="value", baseline=baseline, num_masks=1, block=1)
    batch, height, width = pair.probe.images.shape[:3]
    rows, columns = (jnp.asarray(_windows(x, cells, window)) for x in (height, width))

    def mask_of(number: Array) -> Array:
        row, column = jnp.divmod(number, cells)
        kept = 1 - rows[row][:, None] * columns[column]
        return jnp.broadcast_to(kept, (batch, height, width))

    found = covered_cosines(
        model, pair, mask_of, cells**2, both=both, baseline=baseline
    )
    gains = (found - pair.cosine).T.reshape(batch, cells, cells)
    step = width / cells
    return upsample(gains, (height, width), CellGrid((step - 1) / 2, step))


def _windows(
    pixels: int, cells: int, window: float
) -> Float32[np.ndarray, "{cells} {pixels}"]:
    """Return 1 where each window along an axis is, else 0; they end at the border."""
    middles = (np.arange(cells)[:, None] + 0.5) * pixels / cells - 0.5
    reach = window * pixels / 2
    return (np.abs(np.arange(pixels) - middles) < reach).astype(np.float32)
