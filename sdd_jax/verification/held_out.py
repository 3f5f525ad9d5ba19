"""Every pair judged by what was chosen on other people: thresholds and calibrations.

A pair of people from folds i and j is judged by what was chosen on the pairs that have
nobody of i or j.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.errors import InputError
from sdd_jax.verification import calibration, rates
from sdd_jax.verification.pairs import Pairs


class HeldOut(NamedTuple):
    """What is said of each pair by those who never saw its people."""

    is_right: Bool[np.ndarray, " pairs"]  # at the threshold of most accuracy
    is_accepted: Bool[np.ndarray, " pairs"]  # at the threshold of a FAR
    logistic: Float[np.ndarray, " pairs"]  # log likelihood ratios
    isotonic: Float[np.ndarray, " pairs"]
    thresholds: Float[np.ndarray, " pairs"]  # of most accuracy


def held_out(
    scores: Float[np.ndarray, " pairs"], pairs: Pairs, *, far: float
) -> HeldOut:
    """Return every pair judged.

    Args:
        scores: of the pairs.
        pairs: with their folds.
        far: at which `is_accepted` is decided.

    Raises:
        InputError: a kind of pairs is missing among those to choose on.
    """
    low, high = np.sort(pairs.folds, axis=1).T
    keys = low * (high.max() + 1) + high
    numbers = {name: np.empty(len(scores)) for name in HeldOut._fields}
    for key in np.unique(keys):
        judged = keys == key
        i, j = low[judged][0], high[judged][0]
        chosen_on = ~((pairs.folds == i) | (pairs.folds == j)).any(1)
        own, is_same = scores[chosen_on], pairs.is_same[chosen_on]
        if is_same.all() or not is_same.any():
            raise InputError(
                f"without the people of folds {i} and {j}, no "
                f"{'impostor' if len(own) and is_same.all() else 'genuine'} pair is "
                f"left to choose a threshold on: add people with two images or more"
            )
        found = rates.by_score(own, is_same)
        roc = rates.curve(found)
        limits = calibration.bounds(is_same, pairs.people[chosen_on])
        best = rates.best_threshold(found, roc)
        rows = scores[judged]
        numbers["thresholds"][judged] = best
        numbers["is_right"][judged] = (rows >= best) == pairs.is_same[judged]
        accepted = rows >= rates.threshold_at(found, roc, far)
        numbers["is_accepted"][judged] = accepted
        for name in ("logistic", "isotonic"):
            fit = getattr(calibration, name)(own, is_same)
            numbers[name][judged] = calibration.log_ratios(fit, rows, limits)
    for name in ("is_right", "is_accepted"):
        numbers[name] = numbers[name].astype(bool)
    return HeldOut(**numbers)
