"""The blurred difference of the pixels: a control that asks no network."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.placement import blurred
from sdd_jax.types import Explanation


def pixel_difference(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    blur: float = 0.05,
) -> Explanation:
    """Return the mean over channels of |probe - reference|, blurred.

    Args:
        model: not used.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        blur: standard deviation of the Gaussian, in image widths.

    Raises:
        InputError: `blur` is out of range.
    """
    one, other = (
        side.images.astype(jnp.float32) for side in (pair.probe, pair.reference)
    )
    return Explanation(blurred(jnp.abs(one - other).mean(3), blur))
