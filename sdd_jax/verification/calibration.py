"""Scores -> likelihood ratios of "one person" against "two people".

Ratios are natural logarithms. Fits give either kind of pairs half of all weight, so
that log odds are log likelihood ratios, whatever the kinds' numbers are. How far a
ratio may go is bounded by how many different people the pairs are of: ten images of one
person say the same thing ten times.

References:
    Brummer, du Preez, "Application-Independent Evaluation of Speaker Detection",
    Computer Speech and Language 20(2-3), 2006 (Cllr, its minimum, the affine form).
    Vergeer et al., "Numerical Likelihood Ratios Outputted by LR Systems Are Often Based
    on Extrapolation: When to Stop Extrapolating?", Science & Justice 56(6), 2016.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special

from sdd_jax.verification.rates import Sorted, by_score, curve

Array = np.ndarray


class Bounds(NamedTuple):
    """Between which log likelihood ratios must stay."""

    lowest: float
    highest: float


class Logistic(NamedTuple):
    """log likelihood ratio = slope * score + offset."""

    slope: float
    offset: float


class Isotonic(NamedTuple):
    """log likelihood ratio = a rising function, linear in probability between these."""

    scores: Float[Array, " steps"]
    probabilities: Float[Array, " steps"]


def bounds(is_same: Bool[Array, " pairs"], people: Int[Array, "pairs 2"]) -> Bounds:
    """Return what the pairs support: -log(n + 1) of n people, log(m + 1) of m couples.

    n people have genuine pairs, and m different couples of people impostor pairs: were
    the next one the first exception, its rate would be 1 / (n + 1) or 1 / (m + 1).
    """
    num_people = len(np.unique(people[is_same, 0]))
    # One number a couple: unique rows would be sorted as bytes.
    low, high = np.sort(people[~is_same].astype(np.int64), axis=1).T
    num_couples = len(np.unique(low * (people.max(initial=0) + 1) + high))
    return Bounds(-float(np.log(num_people + 1)), float(np.log(num_couples + 1)))


def logistic(
    scores: Float[Array, " pairs"],
    is_same: Bool[Array, " pairs"],
    times: Float[Array, " pairs"] | None = None,
) -> Logistic:
    """Return the logistic regression of kinds on scores, by maximum likelihood.

    Targets are (n + 1) / (n + 2) and 1 / (m + 2) instead of 1 and 0, so that kinds
    which no score mixes up have a finite slope.

    Args:
        scores: of the pairs.
        is_same: which are genuine.
        times: how often each pair counts, of either kind once at least; once where
            None.

    References:
        Platt, "Probabilistic Outputs for Support Vector Machines", Advances in Large
        Margin Classifiers, MIT Press 1999, section 2.1 (the targets).
    """
    times = np.ones(len(scores)) if times is None else times
    num_same, num_other = times[is_same].sum(), times[~is_same].sum()
    targets = np.where(is_same, (num_same + 1) / (num_same + 2), 1 / (num_other + 2))
    weights = times * np.where(is_same, 0.5 / num_same, 0.5 / num_other)
    middle, spread = scores.mean(), scores.std() or 1.0  # where the steps fit
    units = (scores - middle) / spread

    # Sums, not products of vectors: BLAS's threads would wait for each other.
    def loss_and_gradient(x: Array) -> tuple[float, Array]:
        logits = x[0] * units + x[1]
        losses = weights * (np.logaddexp(0, logits) - targets * logits)
        slopes = weights * (special.expit(logits) - targets)
        return losses.sum(), np.array([(slopes * units).sum(), slopes.sum()])

    def curvature(x: Array) -> Array:
        share = special.expit(x[0] * units + x[1])
        bends = weights * share * (1 - share)
        mixed = (bends * units).sum()
        return np.array([[(bends * units**2).sum(), mixed], [mixed, bends.sum()]])

    start = np.array([1.0, 0.0])
    found = optimize.minimize(
        loss_and_gradient, start, jac=True, hess=curvature, method="trust-exact"
    ).x
    slope = float(found[0] / spread)
    return Logistic(slope, float(found[1] - slope * middle))


def isotonic(
    scores: Float[Array, " pairs"], is_same: Bool[Array, " pairs"]
) -> Isotonic:
    """Return the rising function that fits the kinds best, by pooling neighbours.

    References:
        Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass
        Probability Estimates", KDD 2002.
    """
    found = by_score(scores, is_same)
    roc = curve(found)  # equal scores are one step, each kind sums to 1
    genuine, impostor = np.diff(roc.tar)[::-1], np.diff(roc.far)[::-1]
    sums = genuine + impostor
    fit = optimize.isotonic_regression(genuine / sums, weights=sums)
    return Isotonic(found.scores[::-1], np.clip(fit.x, 0, 1))


def log_ratios(
    fit: Logistic | Isotonic, scores: Float[Array, " pairs"], limits: Bounds
) -> Float[Array, " pairs"]:
    """Return log likelihood ratios, never beyond the bounds."""
    if isinstance(fit, Logistic):
        ratios = fit.slope * scores + fit.offset
    else:
        ratios = special.logit(np.interp(scores, fit.scores, fit.probabilities))
    return np.clip(ratios, limits.lowest, limits.highest)


def costs(
    ratios: Float[Array, " pairs"], is_same: Bool[Array, " pairs"]
) -> Float[Array, " pairs"]:
    """Return what each pair's ratio costs, in bits: log2(1 + 1 / LR), or of LR."""
    return np.logaddexp(0, np.where(is_same, -ratios, ratios)) / np.log(2)


def cllr(ratios: Float[Array, " pairs"], is_same: Bool[Array, " pairs"]) -> float:
    """Return Cllr: the mean cost of genuine and that of impostor pairs, averaged.

    0 is perfect; 1 says nothing, as ratios of 1 do; above 1 ratios mislead.
    """
    return mean_cost(costs(ratios, is_same), is_same, np.ones(len(ratios)))


def mean_cost(
    cost: Float[Array, " pairs"],
    is_same: Bool[Array, " pairs"],
    weights: Float[Array, " pairs"],
) -> float:
    """Return the weighted mean cost of either kind, averaged; NaN of a kind without."""
    both, own = weights.sum(), (weights * is_same).sum()
    if own <= 0 or both <= own:
        return float("nan")
    spent = weights * cost
    genuine = (spent * is_same).sum()
    return float(genuine / own + (spent.sum() - genuine) / (both - own)) / 2


def cllr_min(found: Sorted, weights: Float[Array, " pairs"] | None = None) -> float:
    """Return the Cllr of the best rising function, fitted on these very pairs.

    What Cllr has above it is what the calibration lost.

    Args:
        found: the pairs.
        weights: of the pairs in `found.order`; all 1 where None.
    """
    roc = curve(found, weights)
    genuine, impostor = np.diff(roc.tar)[::-1], np.diff(roc.far)[::-1]
    sums = genuine + impostor
    seen = sums > 0
    if np.isnan(sums).any():
        return float("nan")
    genuine, impostor, sums = genuine[seen], impostor[seen], sums[seen]
    fit = optimize.isotonic_regression(genuine / sums, weights=sums)
    share = np.clip(fit.x, 0, 1)
    # Where a share is 0 or 1 nothing of the other kind is there to pay for it.
    bits = special.xlogy(genuine, share) + special.xlogy(impostor, 1 - share)
    return float(-bits.sum() / 2 / np.log(2))
