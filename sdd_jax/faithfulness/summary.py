"""What every image gave -> the figures of a whole split, with intervals.

Each figure is {"value", "low", "high"}.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from sdd_jax import checks
from sdd_jax.faithfulness.metrics import METRICS, measured_each
from sdd_jax.faithfulness.perturbations import Outcome, Perturbation
from sdd_jax.faithfulness.statistics import NUM_RESAMPLES, bootstrap_means, estimate


def summarise(
    labels: Int[np.ndarray, " images"],
    intact: Outcome,
    perturbed: Outcome,
    *,
    methods: Sequence[str],
    wanted: tuple[Perturbation, ...],
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Return accuracy, and every metric of every method and perturbation.

    Over all images under "methods", as [method][fill][order][metric]; as SDD minus each
    other method under "difference_to_sdd", where SDD is among them; over the correctly
    classified under "correctly_classified", where there are any.

    Args:
        labels: whose images they are.
        intact: of the images as they are, [images].
        perturbed: [methods, perturbations, images].
        methods: their names.
        wanted: the perturbations; one fraction.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.

    Raises:
        InputError: so few resamples have no interval.
    """
    checks.require(num_resamples, NUM_RESAMPLES, "num_resamples")
    correct = intact.decision == labels
    # [methods, perturbations, metrics, images]
    values = np.stack(
        [measured_each(name, intact, perturbed, wanted) for name in METRICS], axis=2
    )

    def resample(values: np.ndarray) -> np.ndarray:
        columns = values.reshape(-1, values.shape[-1]).T
        means = bootstrap_means(columns, seed=seed, num_resamples=num_resamples)
        return means.T.reshape(*values.shape[:-1], num_resamples)

    def estimates(
        names: Sequence[str], exact: np.ndarray, drawn: np.ndarray
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for m, method in enumerate(names):
            for p, each in enumerate(wanted):
                fills = result.setdefault(method, {})
                fills.setdefault(each.fill, {})[each.order] = {
                    metric: estimate(exact[m, p, i], drawn[m, p, i])
                    for i, metric in enumerate(METRICS)
                }
        return result

    exact, drawn = values.mean(-1), resample(values)
    hits = 100.0 * correct
    result = {
        "accuracy": estimate(hits.mean(), resample(hits)),
        "num_images": len(labels),
        "methods": estimates(methods, exact, drawn),
    }
    if "sdd" in methods:
        sdd = methods.index("sdd")
        others = [m for m, _ in enumerate(methods) if m != sdd]
        result["difference_to_sdd"] = estimates(
            [methods[m] for m in others],
            exact[sdd] - exact[others],
            drawn[sdd] - drawn[others],
        )
    if correct.any():
        result["correctly_classified"] = {
            "num_images": int(correct.sum()),
            "methods": estimates(
                methods,
                values[..., correct].mean(-1),
                resample(values[..., correct]),
            ),
        }
    return result
