"""The score of one pair among genuine and impostor scores, as an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.reports import plots
from sdd_jax.reports.verify_plot import KINDS


def plot(
    scores: Float[np.ndarray, " pairs"],
    is_same: Bool[np.ndarray, " pairs"],
    record: Mapping[str, Any],
) -> bytes:
    """Return a PNG file: histograms of both kinds, the threshold, this pair's score.

    Args:
        scores: of the pairs that the record was calibrated on.
        is_same: which are genuine.
        record: of the pair.
    """
    figure = plots.empty(7, 2.6)
    axis = figure.subplots()
    cosine = record["cosine"]
    low, high = min(scores.min(), cosine), max(scores.max(), cosine)
    edges = np.linspace(low, high, 61).tolist()
    for name, kind, colour in KINDS:
        own = scores[is_same == kind]
        weights = np.full(len(own), 100 / len(own))
        label = f"{name} pairs ({len(own):,})"
        axis.hist(own, edges, weights=weights, alpha=0.6, label=label, color=colour)
    axis.axvline(record["threshold"], color="black", linestyle="--", label="threshold")
    axis.axvline(cosine, color="black", linewidth=2.5, label="this pair")
    axis.set(xlabel="cosine", ylabel="per cent of a kind")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    return plots.png(figure)
