"""Numbers of images -> means with intervals.

One set of bootstrap draws serves every figure of a group of images, so differences of
methods are paired.
"""

import numpy as np
from jaxtyping import Float

from sdd_jax import checks
from sdd_jax.errors import InputError

# A 95 % interval cuts one resample in forty off at each end: of fewer there is none to
# cut off, and the ends are made up. A million settle an end to a thousandth of the
# interval.
NUM_RESAMPLES = checks.whole(40, 10**6)

_DRAWS_AT_A_TIME = 2**24  # 128 MB


def bootstrap_means(
    values: Float[np.ndarray, "images columns"], *, seed: int, num_resamples: int
) -> Float[np.ndarray, "resamples columns"]:
    """Return the columns' means over images drawn with replacement.

    The same draws serve every column, so differences of columns are paired.

    Raises:
        InputError: there is no image or no resample, or the seed is below 0.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993,
        chapter 13 (the percentile interval).
    """
    checks.require(seed, checks.SEED, "seed")
    checks.require(num_resamples, checks.whole(1), "num_resamples")
    num_images = len(values)
    if not num_images:
        raise InputError("there is no image to draw from, expected at least one")
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
