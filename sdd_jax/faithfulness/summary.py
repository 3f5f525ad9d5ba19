"""Sums and per-picture arrays -> the figures of a whole split, with intervals.

All figures are per cent, each as {"value", "low", "high"}. One set of bootstrap draws
serves every figure of a group of pictures, so differences of methods are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sdd_jax import checks
from sdd_jax.faithfulness.masking import SCHEMES
from sdd_jax.faithfulness.metrics import (
    METRICS,
    NUM_RESAMPLES,
    bootstrap_means,
    effects,
    estimate,
)


def summarise(
    sums: Mapping[str, Mapping[str, np.ndarray]],
    per_sample: Mapping[str, np.ndarray],
    *,
    methods: Sequence[str],
    fills: Sequence[str],
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Return accuracy, and every metric of every method, fill and scheme.

    Over all pictures under "methods"; as SDD minus each other method under
    "difference_to_sdd", where SDD is among them; over the correctly classified under
    "correctly_classified", where there are any.

    Args:
        sums: "all" and "correctly_classified", each from `metrics.sums`.
        per_sample: prediction, label, confidence [images]; masked_confidence and
            masked_prediction [methods, fills, schemes, images].
        methods: their names.
        fills: their names.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.

    Raises:
        InputError: so few resamples have no interval.
    """
    checks.require(num_resamples, NUM_RESAMPLES, "num_resamples")
    correct = per_sample["prediction"] == per_sample["label"]
    values = effects(
        per_sample["confidence"],
        per_sample["masked_confidence"],
        per_sample["prediction"],
        per_sample["masked_prediction"],
    )

    def resample(columns: np.ndarray) -> np.ndarray:
        return bootstrap_means(
            columns.astype(np.float64), seed=seed, num_resamples=num_resamples
        ).T

    def resampled(chosen: np.ndarray) -> dict[str, np.ndarray]:
        columns = np.stack([np.asarray(values[metric]) for metric in METRICS])
        shape = columns.shape[:-1]
        means = resample(columns[..., chosen].reshape(-1, chosen.sum()).T)
        return dict(zip(METRICS, means.reshape(*shape, num_resamples), strict=True))

    def means_of(total: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {metric: total[metric] / total["num_images"] for metric in METRICS}

    def table(cell: Callable[[int, int, int], Any]) -> dict[str, Any]:
        return {
            method: {
                fill: {scheme: cell(m, f, s) for s, scheme in enumerate(SCHEMES)}
                for f, fill in enumerate(fills)
            }
            for m, method in enumerate(methods)
        }

    def estimates(
        exact: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        return table(
            lambda m, f, s: {
                metric: estimate(exact[metric][m, f, s], drawn[metric][m, f, s])
                for metric in METRICS
            }
        )

    def less_than_sdd(of: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        sdd = methods.index("sdd")
        return {metric: value[sdd : sdd + 1] - value for metric, value in of.items()}

    exact, drawn = means_of(sums["all"]), resampled(np.ones_like(correct))
    result = {
        "accuracy": estimate(100 * correct.mean(), resample(100 * correct[:, None])[0]),
        "num_images": int(sums["all"]["num_images"]),
        "methods": estimates(exact, drawn),
    }
    if "sdd" in methods:
        differences = estimates(less_than_sdd(exact), less_than_sdd(drawn))
        del differences["sdd"]
        result["difference_to_sdd"] = differences
    if correct.any():
        total = sums["correctly_classified"]
        result["correctly_classified"] = {
            "num_images": int(total["num_images"]),
            "methods": estimates(means_of(total), resampled(correct)),
        }
    return result
