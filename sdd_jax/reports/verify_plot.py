"""Genuine and impostor scores, the ROC, and likelihood ratios, as an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.reports import plots

KINDS = (("genuine", True, "tab:blue"), ("impostor", False, "tab:red"))


def plot(
    scores: Float[np.ndarray, " pairs"],
    is_same: Bool[np.ndarray, " pairs"],
    ratios: Float[np.ndarray, " pairs"],
    result: Mapping[str, Any],
) -> bytes:
    """Return a PNG file: histogram of scores, ROC, Tippett plot.

    Args:
        scores: of the pairs.
        is_same: which are genuine.
        ratios: natural logarithms of likelihood ratios.
        result: the content of `verify/metrics.json`.

    References:
        Meuwly, "Reconnaissance de locuteurs en sciences forensiques", thesis,
        University of Lausanne 2001 (the Tippett plot: what share of either kind has a
        likelihood ratio above a value).
    """
    figure = plots.empty(13, 4)
    histogram, roc, tippett = figure.subplots(1, 3)
    edges = np.linspace(scores.min(), scores.max(), 61).tolist()
    for name, kind, colour in KINDS:
        own = scores[is_same == kind]
        weights = np.full(len(own), 100 / len(own))
        histogram.hist(own, edges, weights=weights, alpha=0.6, label=name, color=colour)
    threshold = result["calibration"]["threshold"]
    label = f"FAR {result['protocol']['far']:g}"
    histogram.axvline(threshold, color="black", linestyle="--", label=label)
    histogram.set(title="scores, per cent of each kind", xlabel="cosine")

    impostors = np.sort(scores[~is_same])[::-1]
    genuine = np.sort(scores[is_same])
    # As many points as impostors, or as a plot can show.
    steps = np.unique(np.geomspace(1, len(impostors), 400).astype(int))
    far = steps / len(impostors)
    below = np.searchsorted(genuine, impostors[steps - 1], side="left")
    roc.plot(100 * far, 100 * (1 - below / len(genuine)), color="tab:blue", label="ROC")
    for text, one in result["tar"].items():
        if one["value"] is not None:
            span = [[max(0, one["value"] - one["low"])], [one["high"] - one["value"]]]
            roc.errorbar(100 * float(text), one["value"], np.abs(span), fmt="o", c="k")
    roc.set_xscale("log")
    roc.set(title="ROC, per cent, 95 % over people", xlabel="FAR", ylabel="TAR")

    for name, kind, colour in KINDS:
        own = np.sort(ratios[is_same == kind]) / np.log(10)
        above = 100 * (1 - np.arange(len(own)) / len(own))
        tippett.step(own, above, where="post", color=colour, label=name)
    tippett.axvline(0, color="black", linewidth=0.5)
    title = "Tippett plot, per cent above"
    tippett.set(title=title, xlabel="log10 likelihood ratio")
    for axis in (histogram, roc, tippett):
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    return plots.png(figure)
