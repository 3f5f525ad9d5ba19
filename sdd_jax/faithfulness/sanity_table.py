"""How alike maps are to those of spoilt networks -> one table, and a verdict in words.

The table is

    [METHOD]["cascading"][LAYER]      the head, and all layers down to this one, spoilt
    [METHOD]["independent"][LAYER]    this layer alone
    [METHOD]["wrong_class"]           the intact network, asked for another class
    [METHOD]["verdict"]               {"network": ..., "class": ...}, in words

and each figure {"spearman": {"value", "low", "high"}, "ssim": the same, "flat_maps",
"num_images"}. Flat maps are in no mean; who has no others has no figure of that name.
The two orders also have a "mean" over their layers; the untouched network is in none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.sanity import Similarity
from sdd_jax.faithfulness.statistics import bootstrap_identity_means, estimate

CASCADING, INDEPENDENT, WRONG_CLASS = "cascading", "independent", "wrong_class"
MEAN = "mean"  # of the layers
ENOUGH = 0.5  # of the images must have two maps that say something
RULE = (
    "depends on it where the 95 % interval of the mean Spearman correlation, over "
    "identities, lies below {threshold}; does not where it lies above; cannot be said "
    "where {threshold} lies in it, or half of the maps or more are flat. Of the "
    "network: maps of the intact network against those of the one with all layers "
    "spoilt. Of the class: maps of the predicted class against those of a random "
    "other class"
)

Network = tuple[str, str]  # an order and a layer; (WRONG_CLASS, "")


def method_table(
    found: Mapping[Network, Similarity],
    labels: Int[np.ndarray, " images"],
    *,
    threshold: float,
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Return the part of the table of one method.

    Args:
        found: similarities to the maps of the intact network, [images]; of the orders,
            from the head to the input. The last of the cascade has all layers spoilt.
        labels: whose images they are.
        threshold: of the verdict.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.

    Raises:
        InputError: there is no cascade or no wrong class.
    """

    def figure(one: Similarity) -> dict[str, Any]:
        return _figure(one, labels, seed=seed, num_resamples=num_resamples)

    cascade = [layer for order, layer in found if order == CASCADING]
    if not cascade or (WRONG_CLASS, "") not in found:
        raise InputError(
            f"there are only {', '.join(' '.join(each) for each in found) or 'none'}: "
            f"expected at least a cascade and the wrong class"
        )
    result: dict[str, Any] = {}
    for order in (CASCADING, INDEPENDENT):
        of_order = {layer: one for (each, layer), one in found.items() if each == order}
        if of_order:
            result[order] = {name: figure(one) for name, one in of_order.items()}
            result[order][MEAN] = figure(_mean(list(of_order.values())))
    result[WRONG_CLASS] = figure(found[WRONG_CLASS, ""])
    result["verdict"] = {
        "network": _verdict(result[CASCADING][cascade[-1]], "network", threshold),
        "class": _verdict(result[WRONG_CLASS], "class", threshold),
    }
    return result


def _figure(
    one: Similarity, labels: np.ndarray, *, seed: int, num_resamples: int
) -> dict[str, Any]:
    flat = np.asarray(one.is_flat)
    result: dict[str, Any] = {"flat_maps": int(flat.sum()), "num_images": len(flat)}
    if flat.all():
        return result
    names = ("spearman", "ssim")
    values = np.stack([np.asarray(getattr(one, n), np.float64) for n in names], axis=1)
    counted = np.repeat(~flat[:, None], len(names), axis=1)
    drawn = bootstrap_identity_means(
        values, labels, seed=seed, num_resamples=num_resamples, counted=counted
    )
    for column, name in enumerate(names):
        means = drawn[:, column]
        value = values[~flat, column].mean()
        result[name] = estimate(value, means[np.isfinite(means)])
    return result


def _mean(many: list[Similarity]) -> Similarity:
    """Return each image's mean over layers, of those maps that are not flat."""
    counted = ~np.stack([np.asarray(one.is_flat) for one in many])

    def mean(name: str) -> np.ndarray:
        values = np.stack([np.asarray(getattr(one, name), np.float64) for one in many])
        return np.where(counted, values, 0).sum(0) / np.maximum(counted.sum(0), 1)

    return Similarity(mean("spearman"), mean("ssim"), ~counted.any(0))


def _verdict(figure: Mapping[str, Any], of: str, threshold: float) -> str:
    if figure["flat_maps"] >= ENOUGH * figure["num_images"]:
        said = f"{figure['flat_maps']} of {figure['num_images']} maps are flat"
        return f"cannot be said: {said}"
    low, high = figure["spearman"]["low"], figure["spearman"]["high"]
    if high < threshold:
        return f"depends on the {of}"
    if low >= threshold:
        return f"does not depend on the {of}"
    return f"cannot be said: from {low:.2f} to {high:.2f}"
