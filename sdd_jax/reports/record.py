"""One explained image as plain values, for `records.jsonl`, and drawn.

An explained image is a dict of its part of a batch:

    index, label (negative: not known), prediction, confidence
    image         uint8 RGB, [height, width, 3]
    maps          {method: float [height, width]}; the first method is tested by masking
    is_flat       {method: bool}: all of its map is equal, or not finite
    salient       bool, [height, width]: what is removed or kept
    masked_confidence, masked_prediction, confidence_drop (per cent),
    prediction_change (0 where it stays): [fills, schemes]

and, where SDD is among the methods, what it found:

    rivals, rival_probabilities [num_rivals]: and their softmax probabilities
    scale, amplification: F and alpha
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdd_jax.reports import overlay


def record(
    one: Mapping[str, Any],
    *,
    file: str,
    names: Sequence[str],
    fraction: float,
    fills: Sequence[str],
    schemes: Sequence[str],
) -> dict[str, Any]:
    """Return an explained image in words and numbers that JSON can hold.

    Args:
        one: the explained image.
        file: what a person calls it.
        names: the identities.
        fraction: the share of pixels that is removed or kept.
        fills: what removed pixels were replaced by.
        schemes: deletion and retention.
    """
    label, prediction = one["label"], one["prediction"]
    is_known = label >= 0

    def outcome(f: int, s: int) -> dict[str, Any]:
        return {
            "predicted": names[one["masked_prediction"][f, s]],
            "probability": float(one["masked_confidence"][f, s]),
            "confidence_drop": float(one["confidence_drop"][f, s]),
            "prediction_changed": bool(one["prediction_change"][f, s]),
        }

    return {
        "index": one["index"],
        "image": file,
        "label": names[label] if is_known else None,
        "predicted": names[prediction],
        "probability": one["confidence"],
        "correct": label == prediction if is_known else None,
        "rivals": [
            {"name": names[rival], "probability": float(probability)}
            for rival, probability in zip(
                one.get("rivals", ()), one.get("rival_probabilities", ()), strict=True
            )
        ],
        "scale": one.get("scale"),
        "amplification": one.get("amplification"),
        "methods": list(one["maps"]),
        "is_flat": {name: bool(flat) for name, flat in one["is_flat"].items()},
        "fraction": fraction,
        "outcomes": {
            fill: {scheme: outcome(f, s) for s, scheme in enumerate(schemes)}
            for f, fill in enumerate(fills)
        },
    }


def drawn(
    one: Mapping[str, Any], filled: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the images that show an explanation, uint8 RGB.

    The keys are those the page knows: image, the methods' names, removed and kept
    under black, removed_FILL and kept_FILL under every other fill.

    Args:
        one: the explained image.
        filled: the image with every pixel filled, by fill.
    """
    image, salient = one["image"], one["salient"]
    images = {"image": image}
    for name, saliency in one["maps"].items():
        images[name] = overlay.overlay(image, saliency)
    for fill, whole in filled.items():
        ending = "" if fill == "black" else f"_{fill}"
        images[f"removed{ending}"] = overlay.masked(image, ~salient, whole)
        images[f"kept{ending}"] = overlay.masked(image, salient, whole)
    return images
