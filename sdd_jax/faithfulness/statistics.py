"""Numbers of images -> means with intervals, and whether methods differ.

One set of bootstrap draws serves every figure of a group of images, so differences of
methods are paired. Images of one person are not independent: where there are several,
draw, and test, identities.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

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
    drawn = draws(num_images, seed, num_resamples)
    return np.concatenate([times @ values / num_images for times in drawn])


def bootstrap_identity_means(
    values: Float[np.ndarray, "images columns"],
    labels: Int[np.ndarray, " images"],
    *,
    seed: int,
    num_resamples: int,
    counted: Bool[np.ndarray, "images columns"] | None = None,
) -> Float[np.ndarray, "resamples columns"]:
    """Return the columns' means over all images of identities drawn with replacement.

    As many identities are drawn as there are; the sum of their images' values is
    divided by the number of their images. The same draws serve every column, so
    differences of columns are paired.

    Args:
        values: one row an image.
        labels: whose images they are.
        seed: of the draws.
        num_resamples: rows to return.
        counted: False for values that are no part of a mean, such as those of flat
            maps. A resample without any that is counted has NaN.

    Raises:
        InputError: as `bootstrap_means`, or labels are not one for each image.

    References:
        Field and Welsh, "Bootstrapping Clustered Data", Journal of the Royal
        Statistical Society B 69(3), 2007, the cluster bootstrap.
    """
    checks.require(seed, checks.SEED, "seed")
    checks.require(num_resamples, checks.whole(1), "num_resamples")
    sums, numbers = _identity_sums(values, labels, counted)
    parts = []
    for times in draws(len(sums), seed, num_resamples):
        drawn = times @ numbers
        parts.append(times @ sums / np.where(drawn, drawn, np.nan))
    return np.concatenate(parts)


def identity_means(
    values: Float[np.ndarray, "images columns"],
    labels: Int[np.ndarray, " images"],
    counted: Bool[np.ndarray, "images columns"] | None = None,
) -> Float[np.ndarray, "identities columns"]:
    """Return the mean over each identity's images, by rising label.

    Args:
        values: one row an image.
        labels: whose images they are.
        counted: as in `bootstrap_identity_means`; an identity without any has NaN.
    """
    sums, numbers = _identity_sums(values, labels, counted)
    return sums / np.where(numbers, numbers, np.nan)


def wilcoxon(differences: Float[np.ndarray, " identities"]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    Of paired differences, one an identity (see `identity_means`), against a
    distribution around 0. Zeros and NaN are left out; of nothing p is 1. Exact up to
    50 differences without ties in size, a normal approximation otherwise.

    References:
        Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1(6),
        1945.
    """
    # Half a second to load, which most commands need not wait for.
    from scipy import stats

    kept = differences[(differences != 0) & ~np.isnan(differences)]
    if not len(kept):
        return 1.0
    has_ties = len(np.unique(np.abs(kept))) < len(kept)
    method = "asymptotic" if has_ties or len(kept) > 50 else "exact"
    return float(stats.wilcoxon(kept, method=method).pvalue)


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return the p-values adjusted for all tests of a table, in their order.

    The k-th smallest of n is multiplied by n - k + 1; none is smaller than one before
    it, or larger than 1. Those at most 0.05 are together wrong with a probability of at
    most 5 %, whatever the tests have in common.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
        Journal of Statistics 6(2), 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted


def estimate(
    value: float, means: Float[np.ndarray, " resamples"], *, level: float = 0.95
) -> dict[str, float]:
    """Return a value with the percentile interval of its bootstrapped means."""
    checks.require(level, checks.real(0, 1, above=True, below=True), "level")
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"value": float(value), "low": float(low), "high": float(high)}


def draws(
    number: int, seed: int, num_resamples: int
) -> Iterator[Int[np.ndarray, "resamples number"]]:
    """Yield how often each is drawn, a few resamples at a time.

    All of a large split's draws are gigabytes.
    """
    rng = np.random.default_rng(seed)
    shares = np.full(number, 1 / number)
    block = max(1, _DRAWS_AT_A_TIME // number)
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        yield rng.multinomial(number, shares, size=size)


def _identity_sums(
    values: np.ndarray, labels: np.ndarray, counted: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each identity's sums and numbers of values, [identities, columns]."""
    if not len(values):
        raise InputError("there is no image to draw from, expected at least one")
    if len(labels) != len(values):
        raise InputError(
            f"there are {len(labels)} labels, expected one for each of {len(values)} "
            f"images"
        )
    if counted is None:
        counted = np.ones(values.shape, bool)
    identities, places = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(identities), values.shape[1]))
    numbers = np.zeros(sums.shape, int)
    np.add.at(sums, places, np.where(counted, values, 0))
    np.add.at(numbers, places, counted)
    return sums, numbers
