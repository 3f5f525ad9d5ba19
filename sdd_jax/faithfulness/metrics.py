"""What perturbations do to the prediction, as values: one number an image.

All are per cent. "Confidence" is the softmax probability of the target, p on the intact
image. NumPy on the host: only the outcomes leave the devices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdd_jax.faithfulness.perturbations import Outcome, Perturbation

Values = Float[np.ndarray, "*methods images"]


def _alone(cell: Perturbation) -> tuple[Perturbation, ...]:
    return (cell,)


@dataclass(frozen=True)
class Metric:
    """A measure of an explanation, and what must be known of it to read it."""

    unit: str
    better: dict[str, str]  # for each order: higher or lower
    # Of the intact images [images] and of those perturbed [*methods, needed, images].
    of: Callable[[Outcome, Outcome], Values]
    formula: str
    # Which perturbations it is made from, where a table asks for this one.
    needs: Callable[[Perturbation], tuple[Perturbation, ...]] = _alone


def _difference(intact: Outcome, perturbed: Outcome) -> Values:
    return np.float64(intact.confidence) - perturbed.confidence[..., 0, :]


def _relative(intact: Outcome, perturbed: Outcome) -> Values:
    return 100 * _difference(intact, perturbed) / intact.confidence


def _drop(intact: Outcome, perturbed: Outcome) -> Values:
    return np.maximum(_relative(intact, perturbed), 0)


def _points(intact: Outcome, perturbed: Outcome) -> Values:
    return 100 * _difference(intact, perturbed)


def _change(intact: Outcome, perturbed: Outcome) -> Values:
    return 100.0 * (perturbed.decision[..., 0, :] != intact.decision)


# What takes a person away from an image should hurt, what keeps only the person not.
_HURTS = {"deletion": "higher", "retention": "lower"}

METRICS = {
    "confidence_drop": Metric(
        "per cent", _HURTS, _drop, "100 max(0, (p - p_masked) / p), p = softmax"
    ),
    "confidence_drop_signed": Metric(
        "per cent", _HURTS, _relative, "100 (p - p_masked) / p"
    ),
    "confidence_drop_points": Metric(
        "percentage points", _HURTS, _points, "100 (p - p_masked)"
    ),
    "prediction_change": Metric(
        "per cent", _HURTS, _change, "share of images whose predicted class changes"
    ),
}


def measured(
    name: str,
    cell: Perturbation,
    intact: Outcome,
    perturbed: Outcome,
    wanted: tuple[Perturbation, ...],
) -> Values:
    """Return a metric of each image, [*methods, images], float64.

    Args:
        name: in `METRICS`.
        cell: the perturbation that a table asks for.
        intact: [images].
        perturbed: [*methods, perturbations, images].
        wanted: the perturbations, in that order.
    """
    metric = METRICS[name]
    places = [wanted.index(each) for each in metric.needs(cell)]
    needed = Outcome(*(values[..., places, :] for values in perturbed))
    return metric.of(intact, needed)


def measured_each(
    name: str, intact: Outcome, perturbed: Outcome, wanted: tuple[Perturbation, ...]
) -> Float[np.ndarray, "*methods perturbations images"]:
    """Return `measured` for every perturbation, in their order."""
    values = [measured(name, each, intact, perturbed, wanted) for each in wanted]
    return np.stack(values, axis=-2)
