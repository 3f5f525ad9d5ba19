"""Occlusion: how much of the confidence a covered window takes away."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.masked import intact_score, sum_over_masks
from sdd_jax.types import Explanation

PART = checks.real(0, 1, above=True)


def _windows(
    pixels: int, side: int, step: int
) -> Float32[np.ndarray, "windows pixels"]:
    """Return 1 where each window along an axis is, else 0.

    The last window ends where the image does, so that every pixel is covered.
    """
    last = pixels - side
    starts = np.array([*range(0, last, step), last])[:, None]
    place = np.arange(pixels)
    return ((place >= starts) & (place < starts + side)).astype(np.float32)


def occlusion(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    window: float = 0.2,
    stride: float = 0.1,
    score: str = "confidence",
    baseline: str = "grey",
    block: int = 1,
) -> Explanation:
    """Return, for each pixel, the mean drop over the windows that cover it.

    The paper shows the score itself, by where a grey square stands, and gives neither
    the square's size nor its steps: those here are this project's.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        window: the square's side, as a part of the width.
        stride: from one square to the next, as a part of the width.
        score: whose drop is taken, a name in `masked.SCORES`.
        baseline: what covers, a name in `masked.BASELINES`.
        block: how many windows are scored at a time; see `masked.sum_over_masks`.

    Raises:
        InputError: a part is not above 0 and at most 1, or a name is not known.

    References:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
        ECCV 2014, section 4.2.
    """
    checks.require(window, PART, "window")
    checks.require(stride, PART, "stride")
    intact = intact_score(clean, score)
    size = clean.images.shape[1:3]
    sides = [min(max(1, round(window * size[1])), pixels) for pixels in size]
    step = max(1, round(stride * size[1]))
    along = [
        _windows(pixels, side, step) for pixels, side in zip(size, sides, strict=True)
    ]
    rows, columns = (jnp.asarray(windows) for windows in along)

    def mask_of(number: Array) -> Array:
        row, column = jnp.divmod(number, len(columns))
        kept = 1 - rows[row][:, None] * columns[column]
        return jnp.broadcast_to(kept, clean.images.shape[:3])

    total = sum_over_masks(
        model,
        clean,
        mask_of,
        len(rows) * len(columns),
        term=lambda number, mask, scores: (intact - scores)[:, None, None] * (1 - mask),
        score=score,
        baseline=baseline,
        block=block,
    )
    times_covered = np.outer(*(windows.sum(0) for windows in along))
    return Explanation(total / times_covered)
