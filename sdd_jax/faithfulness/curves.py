"""Whole curves of deletion and retention -> areas and their difference, one an image.

A curve is p(f) / p(0) over fractions f from 0 to 1: p is the softmax probability of the
target, p(0) that of the intact image. Areas are per cent of p(0). NumPy on the host, in
float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.faithfulness.metrics import Values
from sdd_jax.faithfulness.perturbations import ORDERS, Outcome, Perturbation, grid
from sdd_jax.faithfulness.ranks import FRACTION

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Wanted = tuple[Perturbation, ...]


class Curve(NamedTuple):
    """Relative confidence over the fractions of one order under one fill."""

    fractions: Float[np.ndarray, " knots"]  # rising, from 0 to 1
    values: Float[np.ndarray, "*methods knots images"]


def curve_grid(fills: Sequence[str], fractions: Sequence[float] = FRACTIONS) -> Wanted:
    """Return the perturbations that curves are made from, each distinct image once.

    Both orders at all fractions, and all filled, once a fill. Where a fraction f is
    among them, 1 - f is too: so 0.95 comes with 0.05. Filling the least salient f of an
    image is retention at 1 - f; only where both curves have a knot there does a random
    map gain nothing by the trapezoids.

    Raises:
        InputError: a fill is not known or stands twice, there is none, or a fraction
            does not lie between 0 and 1.
    """
    for fraction in fractions:
        checks.require(fraction, FRACTION, "fraction")
    # 1 - 0.9 is not 0.1 to the last bit.
    knots = sorted({round(end, 9) for f in fractions for end in (f, 1 - f)})
    filled = tuple(Perturbation("deletion", fill, 1.0) for fill in fills)
    return grid(fills, knots) + filled


def relative_confidence(
    order: str, fill: str, intact: Outcome, perturbed: Outcome, wanted: Wanted
) -> Curve:
    """Return the curve of one order under one fill.

    It has knots at 0, at the fractions among the perturbations, and at 1. Deletion goes
    from the intact image to all filled, retention from all filled to the intact image.

    Args:
        order: deletion or retention.
        fill: in `FILLS`.
        intact: [images].
        perturbed: [*methods, perturbations, images].
        wanted: the perturbations, in that order; from `curve_grid`, or more.

    Raises:
        InputError: the order is not known, no fraction or not all filled is among the
            perturbations, or an intact confidence is not above 0.
    """
    checks.require_names((order,), dict.fromkeys(ORDERS), "order")
    start = np.asarray(intact.confidence, np.float64)
    if not (start > 0).all():
        raise InputError(
            f"the intact confidence of {int((~(start > 0)).sum())} of {len(start)} "
            f"images is not above 0, expected some: nothing can be lost of it"
        )
    places = {
        each.fraction: place
        for place, each in enumerate(wanted)
        if each[:2] == (order, fill) and 0 < each.fraction < 1
    }
    filled = [
        place
        for place, each in enumerate(wanted)
        if each in (("deletion", fill, 1), ("retention", fill, 0))
    ]
    if not places or not filled:
        raise InputError(
            f"there is no curve of {order} under {fill!r} among the perturbations: "
            f"expected those of curve_grid"
        )
    fractions = sorted(places)
    chosen = [*filled[:1], *(places[fraction] for fraction in fractions)]
    values = np.asarray(perturbed.confidence, np.float64)[..., chosen, :] / start
    whole = np.ones_like(values[..., :1, :])
    ends = (whole, values[..., :1, :])
    first, last = ends if order == "deletion" else ends[::-1]
    return Curve(
        np.array([0, *fractions, 1], np.float64),
        np.concatenate([first, values[..., 1:, :], last], axis=-2),
    )


def deletion_auc(
    fill: str, intact: Outcome, perturbed: Outcome, wanted: Wanted
) -> Values:
    """Return the area below the curve of deletion, in per cent; lower is better.

    Trapezoids over the knots of `relative_confidence`, whose arguments these are.

    References:
        Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of
        Black-box Models", BMVC 2018, the deletion metric; here relative to the intact
        confidence.
    """
    return _area(relative_confidence("deletion", fill, intact, perturbed, wanted))


def insertion_auc(
    fill: str, intact: Outcome, perturbed: Outcome, wanted: Wanted
) -> Values:
    """Return the area below the curve of retention, in per cent; higher is better.

    References:
        As `deletion_auc`, the insertion metric.
    """
    return _area(relative_confidence("retention", fill, intact, perturbed, wanted))


def srg(fill: str, intact: Outcome, perturbed: Outcome, wanted: Wanted) -> Values:
    """Return the symmetric relevance gain, insertion_auc - deletion_auc, in per cent.

    A random map has zero in expectation under every fill, however ragged its masks are:
    what a mask of that shape does by itself is in both curves. The measure of record.

    Raises:
        InputError: as `relative_confidence`, or deletion has a fraction f where
            retention lacks 1 - f, or the other way round.

    References:
        Bluecher, Vielhaben and Strodthoff, "Decoupling Pixel Flipping and Occlusion
        Strategy for Consistent XAI Benchmarks", TMLR 2024, the SRG measure; here
        relative to the intact confidence.
    """
    deletion, retention = (
        relative_confidence(order, fill, intact, perturbed, wanted) for order in ORDERS
    )
    mirrored = 1 - retention.fractions[::-1]
    if len(mirrored) != len(deletion.fractions) or not np.allclose(
        mirrored, deletion.fractions, rtol=0, atol=1e-6
    ):
        raise InputError(
            f"the fractions of deletion under {fill!r} are not those of retention, "
            f"taken from 1, so a random map would gain or lose: expected those of "
            f"curve_grid"
        )
    return _area(retention) - _area(deletion)


@dataclass(frozen=True)
class CurveMetric:
    """A measure of an explanation under one fill, and how it is read."""

    unit: str
    better: str  # higher or lower
    of: Callable[[str, Outcome, Outcome, Wanted], Values]
    formula: str


CURVE_METRICS = {
    "srg": CurveMetric("per cent", "higher", srg, "insertion_auc - deletion_auc"),
    "insertion_auc": CurveMetric(
        "per cent", "higher", insertion_auc, "100 integral of p(f) / p, f retained"
    ),
    "deletion_auc": CurveMetric(
        "per cent", "lower", deletion_auc, "100 integral of p(f) / p, f deleted"
    ),
}


def measured_fills(
    name: str,
    fills: Sequence[str],
    intact: Outcome,
    perturbed: Outcome,
    wanted: Wanted,
) -> Float[np.ndarray, "*methods fills images"]:
    """Return a metric of `CURVE_METRICS` under every fill, in their order.

    The measure of record is `srg` under each fill, and its mean over the fills.
    """
    checks.require_names((name,), CURVE_METRICS, "metric")
    of = CURVE_METRICS[name].of
    return np.stack([of(fill, intact, perturbed, wanted) for fill in fills], axis=-2)


def _area(curve: Curve) -> Values:
    return 100 * np.trapezoid(curve.values, curve.fractions, axis=-2)
