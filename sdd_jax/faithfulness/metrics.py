"""Masked scores -> metrics: what masking does to the prediction.

All metrics are per cent. "Confidence" is the softmax probability of the class predicted
on the intact picture.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Num

from sdd_jax import checks
from sdd_jax.errors import InputError

# A 95 % interval cuts one resample in forty off at each end: of fewer there is none to
# cut off, and the ends are made up. A million settle an end to a thousandth of the
# interval.
NUM_RESAMPLES = checks.whole(40, 10**6)

_DRAWS_AT_A_TIME = 2**24  # 128 MB

METRICS = (
    "confidence_drop",
    "confidence_drop_signed",
    "confidence_drop_points",
    "prediction_change",
)


def effects(
    confidence: Float[Array | np.ndarray, " batch"],
    masked_confidence: Float[Array | np.ndarray, "*jobs batch"],
    prediction: Int[Array | np.ndarray, " batch"],
    masked_prediction: Int[Array | np.ndarray, "*jobs batch"],
) -> dict[str, Float[Array, "*jobs batch"]]:
    """Return each metric for each picture, in per cent.

    confidence_drop         100 max(0, (p - p_masked) / p), the paper's
    confidence_drop_signed  the same without the max: a rise counts against
    confidence_drop_points  100 (p - p_masked), percentage points
    prediction_change       100 where the predicted class changes, else 0
    """
    difference = jnp.subtract(confidence, masked_confidence)
    signed = 100.0 * difference / confidence
    return {
        "confidence_drop": jnp.maximum(signed, 0.0),
        "confidence_drop_signed": signed,
        "confidence_drop_points": 100.0 * difference,
        "prediction_change": 100.0 * jnp.not_equal(masked_prediction, prediction),
    }


def sums(
    values: Mapping[str, Float[Array, "*jobs batch"]], weights: Bool[Array, " batch"]
) -> dict[str, Array]:
    """Return each metric's sum over the pictures that count, and their number."""
    totals = {
        name: jnp.where(weights, value, 0.0).sum(-1) for name, value in values.items()
    }
    return totals | {"num_images": weights.sum()}


def total(
    parts: Mapping[str, Num[np.ndarray, "batches *sums"]],
) -> dict[str, Float[np.ndarray, "*sums"]]:
    """Return the batches' sums, stacked along the first axis, as one, in float64."""
    return {
        name: np.asarray(np.sum(part, axis=0, dtype=np.float64))
        for name, part in parts.items()
    }


def bootstrap_means(
    values: Float[np.ndarray, "images columns"], *, seed: int, num_resamples: int
) -> Float[np.ndarray, "resamples columns"]:
    """Return the columns' means over pictures drawn with replacement.

    The same draws serve every column, so differences of columns are paired.

    Raises:
        InputError: there is no picture or no resample, or the seed is below 0.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993,
        chapter 13 (the percentile interval).
    """
    checks.require(seed, checks.SEED, "seed")
    checks.require(num_resamples, checks.whole(1), "num_resamples")
    num_images = len(values)
    if not num_images:
        raise InputError("there is no picture to draw from, expected at least one")
    rng = np.random.default_rng(seed)
    shares = np.full(num_images, 1 / num_images)
    # A few resamples at a time: all of a large split's draws are gigabytes.
    block = max(1, _DRAWS_AT_A_TIME // num_images)
    return np.concatenate(
        [
            rng.multinomial(num_images, shares, size=min(block, num_resamples - start))
            @ values
            / num_images
            for start in range(0, num_resamples, block)
        ]
    )


def estimate(
    value: float, means: Float[np.ndarray, " resamples"], *, level: float = 0.95
) -> dict[str, float]:
    """Return a value with the percentile interval of its bootstrapped means."""
    checks.require(level, checks.real(0, 1, above=True, below=True), "level")
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"value": float(value), "low": float(low), "high": float(high)}
