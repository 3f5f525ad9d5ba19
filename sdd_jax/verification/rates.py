"""Scores of pairs -> the ROC: what shares of either kind a threshold accepts.

A pair is accepted where its score is at or above the threshold. FAR is the share of
impostor pairs that are, TAR that of genuine pairs; equal scores are accepted together.
Pairs may have weights, of a bootstrap.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sdd_jax.errors import InputError

# Of n impostor pairs without one accepted, no FAR below 3 / n can be claimed at 95 %.
LEAST_ACCEPTED = 3


class Sorted(NamedTuple):
    """Pairs by falling score."""

    order: Int[np.ndarray, " pairs"]  # places of the pairs as they were given
    is_same: Bool[np.ndarray, " pairs"]  # in this order
    ends: Int[np.ndarray, " scores"]  # the last place of each different score
    scores: Float[np.ndarray, " scores"]  # the different scores, falling


class Curve(NamedTuple):
    """The ROC, from nothing accepted to everything; NaN where a kind has no weight."""

    far: Float[np.ndarray, " points"]
    tar: Float[np.ndarray, " points"]


def by_score(
    scores: Float[np.ndarray, " pairs"], is_same: Bool[np.ndarray, " pairs"]
) -> Sorted:
    """Return the pairs by falling score."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    return Sorted(order, is_same[order], ends, falling[ends])


def curve(found: Sorted, weights: Float[np.ndarray, " pairs"] | None = None) -> Curve:
    """Return the ROC; its point i accepts the i highest different scores.

    Args:
        found: the pairs.
        weights: of the pairs in `found.order`; all 1 where None.
    """
    weights = np.ones(len(found.order)) if weights is None else weights
    rates = []
    for kind in (~found.is_same, found.is_same):
        accepted = np.cumsum(weights * kind)
        total = accepted[-1] if accepted[-1] > 0 else np.nan
        rates.append(np.append(0.0, accepted[found.ends] / total))
    return Curve(*rates)


def auc(roc: Curve) -> float:
    """Return the area: how often a genuine pair scores above an impostor pair.

    References:
        Fawcett, "An Introduction to ROC Analysis", Pattern Recognition Letters 27,
        2006, section 7.
    """
    return float(np.trapezoid(roc.tar, roc.far))


def eer(roc: Curve) -> float:
    """Return the rate at which FAR and 1 - TAR are equal, between two points linear."""
    apart = 1 - roc.tar - roc.far
    if np.isnan(apart).any():
        return float("nan")
    after = int(np.argmax(apart <= 0))
    before = after - 1
    share = apart[before] / (apart[before] - apart[after])
    return float(roc.far[before] + share * (roc.far[after] - roc.far[before]))


def point_at(roc: Curve, far: float) -> int:
    """Return the point that accepts most without a FAR above this one."""
    # A sum of so many shares may miss the share itself by its rounding.
    return int(np.searchsorted(roc.far, far * (1 + 1e-9), side="right")) - 1


def tar_at(roc: Curve, far: float) -> float:
    """Return the TAR at a FAR."""
    return float(roc.tar[point_at(roc, far)]) if roc.far[-1] > 0 else float("nan")


def threshold_at(found: Sorted, roc: Curve, far: float) -> float:
    """Return the lowest threshold whose FAR is at most this one."""
    return _threshold(found, point_at(roc, far))


def best_threshold(found: Sorted, roc: Curve) -> float:
    """Return the threshold with the largest mean of TAR and 1 - FAR."""
    return _threshold(found, int(np.argmax(roc.tar - roc.far)))


def eer_threshold(found: Sorted, roc: Curve) -> float:
    """Return the highest threshold at which 1 - TAR is no more than FAR."""
    return _threshold(found, int(np.argmax(1 - roc.tar - roc.far <= 0)))


def _threshold(found: Sorted, point: int) -> float:
    """Return what lies half-way from the last score accepted to the next."""
    scores = found.scores
    if point == 0:
        return float(np.nextafter(scores[0], np.inf))
    last = scores[point - 1]
    return float(last if point == len(scores) else (last + scores[point]) / 2)


def unsupported(far: float, num_impostors: int) -> str:
    """Return why so many impostor pairs cannot support a FAR, "" where they can.

    References:
        Hanley, Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", JAMA
        249(13), 1983 (the rule of three).
    """
    needed = int(np.ceil(round(LEAST_ACCEPTED / far, 6)))
    if num_impostors >= needed:
        return ""
    return (
        f"{num_impostors:,} impostor pairs cannot support a FAR of {far:g}: at least "
        f"{needed:,} are needed"
    )


def require_supported(far: float, num_impostors: int, name: str) -> None:
    """Raise InputError where so many impostor pairs cannot support a FAR."""
    why = unsupported(far, num_impostors)
    if why:
        raise InputError(f"{name} is {far:g}, but {why}; raise it, or add people")
