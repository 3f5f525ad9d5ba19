"""What hiding parts of a probe does to its cosine with a reference: numbers a pair.

In points, 100 times a cosine, or in per cent. NumPy, on the host. A pair is on its side
of a threshold where a genuine one is at or above it, an impostor one below.

    deletion    the most salient pixels are hidden, from none to all
    retention   all but them are
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.faithfulness.perturbations import ORDERS, Perturbation

Values = Float[np.ndarray, " pairs"]

# What each is of the pairs of one kind; the last of both kinds together.
FORMULAS = {
    "drop": "100 (cosine - that with the most salient pixels hidden)",
    "drop_curve": "the mean of that over all hidden shares",
    "retention_drop": "100 (cosine - that with only the most salient pixels left)",
    "retention_curve": "the mean of that over all shares",
    "wrong_side": "share of pairs that deletion takes to the threshold's other side",
    "hiding_game": "mean over all shares, from none to all hidden, of whether the pair "
    "stays on its side when the least salient pixels are hidden",
}


def grid(fills: Sequence[str], fractions: Sequence[float]) -> tuple[Perturbation, ...]:
    """Return the perturbations that `columns` needs: of both orders, and all hidden."""
    parts = [
        Perturbation(order, fill, fraction)
        for fill in fills
        for order in ORDERS
        for fraction in sorted(fractions)
    ]
    return (*parts, *(Perturbation("deletion", fill, 1.0) for fill in fills))


def columns(
    intact: Values,
    cosines: Float[np.ndarray, "perturbations pairs"],
    wanted: tuple[Perturbation, ...],
    is_genuine: Bool[np.ndarray, " pairs"],
    *,
    fill: str,
    fraction: float,
    threshold: float,
) -> dict[str, Values]:
    """Return each pair's numbers, by the names of FORMULAS.

    Args:
        intact: cosines of the pairs as they are.
        cosines: under the perturbations.
        wanted: from `grid`.
        is_genuine: of the pairs.
        fill: one of the fills.
        fraction: one of the fractions, of drop, retention_drop and wrong_side.
        threshold: from which cosine on two images count as of one person.

    References:
        Castanon and Byrne, "Visualizing and Quantifying Discriminative Features for
        Face Recognition", FG 2018, the hiding game; there one mask a share, too.
    """
    intact = np.asarray(intact, np.float64)
    rows = dict(zip(wanted, np.asarray(cosines, np.float64), strict=True))
    filled = rows[Perturbation("deletion", fill, 1.0)]
    fractions = sorted(
        each.fraction for each in wanted if each[:2] == ("retention", fill)
    )
    inner = {
        order: [rows[Perturbation(order, fill, x)] for x in fractions]
        for order in ORDERS
    }
    knots = [0.0, *fractions, 1.0]
    deleted = np.stack([intact, *inner["deletion"], filled])
    retained = np.stack([filled, *inner["retention"], intact])
    right = (retained >= threshold) == is_genuine
    place = knots.index(fraction)
    return {
        "drop": 100 * (intact - deleted[place]),
        "drop_curve": 100 * np.trapezoid(intact - deleted, knots, axis=0),
        "retention_drop": 100 * (intact - retained[place]),
        "retention_curve": 100 * np.trapezoid(intact - retained, knots, axis=0),
        "wrong_side": 100.0 * ((deleted[place] >= threshold) != is_genuine),
        "hiding_game": 100 * np.trapezoid(right.astype(float), knots, axis=0),
    }
