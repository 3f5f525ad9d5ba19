"""The likelihood ratio of one pair, with its interval over people.

It says how much more often a score like this comes from two images of one person than
from images of two people. It is no probability that the two are one: for that somebody
must say how likely it was beforehand.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.faithfulness import statistics
from sdd_jax.types import Calibration
from sdd_jax.verification import calibration
from sdd_jax.verification.measured import resampled
from sdd_jax.verification.pairs import Pairs


class LikelihoodRatio(NamedTuple):
    """Of one score, with its 95 % interval; none is beyond what the pairs support."""

    value: float
    low: float
    high: float
    lowest: float  # what the number of people supports
    highest: float  # what the number of couples of people supports
    at_bound: bool  # the formula says more than the pairs support


def without(pairs: Pairs, people: set[int]) -> Bool[np.ndarray, " pairs"]:
    """Return which pairs have nobody of these people, by label."""
    first, second = np.isin(pairs.people, list(people)).T
    return ~(first | second)


def chosen(pairs: Pairs, kept: Bool[np.ndarray, " pairs"]) -> Pairs:
    """Return some of the pairs."""
    return Pairs(*(values[kept] for values in pairs))


def likelihood_ratio(
    score: float,
    scores: Float[np.ndarray, " pairs"],
    pairs: Pairs,
    found: Calibration,
    *,
    seed: int,
    num_resamples: int,
) -> LikelihoodRatio:
    """Return the ratio of a score that is of other people than the pairs.

    The interval is of logistic regressions on as many people as there are, drawn with
    replacement; draws without a genuine or without an impostor pair say nothing and are
    left out.

    Args:
        score: the cosine.
        scores: of the pairs it was calibrated on.
        pairs: which.
        found: their calibration.
        seed: of the draws.
        num_resamples: how many.

    References:
        Morrison, Poh, "Avoiding Overstating the Strength of Forensic Evidence: Shrunk
        Likelihood Ratios/Bayes Factors", Science & Justice 58(3), 2018 (why a ratio
        needs its bound).
    """

    def log_ratio(times: Float[np.ndarray, " pairs"]) -> list[float]:
        if not (times[pairs.is_same].any() and times[~pairs.is_same].any()):
            return [float("nan")]
        fit = calibration.logistic(scores, pairs.is_same, times)
        return [fit.slope * score + fit.offset]

    limits = found.lowest, found.highest
    value = found.slope * score + found.offset
    rows = resampled(log_ratio, pairs, seed=seed, num_resamples=num_resamples)[:, 0]
    drawn = np.clip(rows[~np.isnan(rows)], *limits)
    interval = statistics.estimate(float(np.clip(value, *limits)), drawn)
    ratios = (interval[name] for name in ("value", "low", "high"))
    return LikelihoodRatio(
        *(float(np.exp(each)) for each in (*ratios, *limits)),
        at_bound=not limits[0] < value < limits[1],
    )
