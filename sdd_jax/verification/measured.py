"""All figures of verification, with intervals over people.

A resample draws as many people as there are, with replacement. A genuine pair counts as
often as its person was drawn, an impostor pair as often as the one times the other.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.faithfulness import statistics
from sdd_jax.types import Calibration
from sdd_jax.verification import calibration, rates
from sdd_jax.verification.held_out import HeldOut
from sdd_jax.verification.pairs import Pairs

FARS = ("1e-4", "1e-3", "1e-2", "1e-1")
Figure = dict[str, Any]  # value, low, high
Weights = Float[np.ndarray, " pairs"]


def measured(
    scores: Float[np.ndarray, " pairs"],
    pairs: Pairs,
    judged: HeldOut,
    *,
    seed: int,
    num_resamples: int,
    groups: Mapping[str, Bool[np.ndarray, " pairs"]] | None = None,
) -> dict[str, Any]:
    """Return accuracy, auc, eer, tar, fmr, fnmr, cllr and the like, and groups.

    Each is {"value", "low", "high"}: per cent, but for cllr. A FAR that the impostor
    pairs cannot support has None and a sentence, "unsupported"; so has a rate of which
    there is no pair.

    Args:
        scores: of the pairs.
        pairs: which.
        judged: what others say of them.
        seed: of the draws.
        num_resamples: how many.
        groups: which pairs are of a group, by name.
    """
    found = rates.by_score(scores, pairs.is_same)
    num_impostors = int((~pairs.is_same).sum())
    wanted = [far for far in FARS if not rates.unsupported(float(far), num_impostors)]
    shares = _shares(pairs, judged, groups or {})
    costs = [
        calibration.costs(x, pairs.is_same) for x in (judged.logistic, judged.isotonic)
    ]

    def figures(weights: Weights) -> list[float]:
        roc = rates.curve(found, weights[found.order])
        values = [rates.auc(roc), rates.eer(roc)]
        values += [rates.tar_at(roc, float(far)) for far in wanted]
        accuracy = [
            _share(judged.is_right, kind, weights) for kind in _kinds(pairs.is_same)
        ]
        values.append(float(np.mean(accuracy)))
        values += [_share(hit, among, weights) for hit, among in shares.values()]
        values = [100 * value for value in values]
        values += [calibration.mean_cost(x, pairs.is_same, weights) for x in costs]
        return [*values, calibration.cllr_min(found, weights[found.order])]

    names = ["auc", "eer", *(f"tar {far}" for far in wanted), "accuracy"]
    names += [*shares, "cllr", "cllr_isotonic", "cllr_min"]
    values = figures(np.ones(len(scores)))
    rows = resampled(figures, pairs, seed=seed, num_resamples=num_resamples)
    found_figures = {
        name: _estimate(value, row)
        for name, value, row in zip(names, values, rows.T, strict=True)
    }
    tar = {
        far: found_figures.pop(f"tar {far}", None)
        or _none(rates.unsupported(float(far), num_impostors))
        for far in FARS
    }
    by_group = {}
    for name, own in (groups or {}).items():
        by_group[name] = {
            "fmr": found_figures.pop(f"fmr {name}"),
            "fnmr": found_figures.pop(f"fnmr {name}"),
            "num_genuine": int((own & pairs.is_same).sum()),
            "num_impostor": int((own & ~pairs.is_same).sum()),
        }
    return found_figures | {"tar": tar, "groups": by_group}


def resampled(
    figures: Callable[[Weights], list[float]],
    pairs: Pairs,
    *,
    seed: int,
    num_resamples: int,
) -> Float[np.ndarray, "resamples figures"]:
    """Return figures over people drawn with replacement.

    References:
        Field, Welsh, "Bootstrapping Clustered Data", Journal of the Royal Statistical
        Society B 69(3), 2007; Bolle, Ratha, Pankanti, "Error Analysis of Pattern
        Recognition Systems: the Subsets Bootstrap", CVIU 93(1), 2004 (of biometrics).
    """
    people, places = np.unique(pairs.people, return_inverse=True)
    first, second = places.reshape(pairs.people.shape).T
    rows = []
    for times in statistics.draws(len(people), seed, num_resamples):
        for drawn in times.astype(np.float64):
            one, other = drawn[first], drawn[second]
            rows.append(figures(np.where(pairs.is_same, one, one * other)))
    return np.array(rows)


def calibrated(
    scores: Float[np.ndarray, " pairs"], pairs: Pairs, *, far: float
) -> Calibration:
    """Return what all pairs together say, for pairs that are none of them.

    Args:
        scores: of the pairs.
        pairs: which.
        far: of the threshold.
    """
    found = rates.by_score(scores, pairs.is_same)
    fit = calibration.logistic(scores, pairs.is_same)
    limits = calibration.bounds(pairs.is_same, pairs.people)
    threshold = rates.threshold_at(found, rates.curve(found), far)
    return Calibration(threshold, *fit, *limits)


def _kinds(is_same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return is_same, ~is_same


def _shares(
    pairs: Pairs, judged: HeldOut, groups: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return which pairs are counted, among which, for every rate."""
    found = {}
    everybody = np.ones(len(pairs.is_same), bool)
    for name, own in {"": everybody, **groups}.items():
        end = f" {name}" if name else ""
        found[f"fmr{end}"] = judged.is_accepted, own & ~pairs.is_same
        found[f"fnmr{end}"] = ~judged.is_accepted, own & pairs.is_same
    return found


def _share(hit: np.ndarray, among: np.ndarray, weights: Weights) -> float:
    own = weights * among
    total = own.sum()
    return float((own * hit).sum() / total) if total > 0 else float("nan")


def _estimate(value: float, row: Float[np.ndarray, " resamples"]) -> Figure:
    if np.isnan(value):
        return _none("there is no such pair")
    return statistics.estimate(value, row[~np.isnan(row)])


def _none(why: str) -> Figure:
    return {"value": None, "low": None, "high": None, "unsupported": why}
