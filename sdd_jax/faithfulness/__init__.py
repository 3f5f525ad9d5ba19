"""4. Saliency -> ranks -> perturbed images -> outcomes -> metrics: the proof."""

from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.metrics import METRICS, measured, measured_each
from sdd_jax.faithfulness.perturbations import (
    ORDERS,
    Outcome,
    Perturbation,
    grid,
    perturbed_outcomes,
)
from sdd_jax.faithfulness.ranks import most_salient

__all__ = [
    "FILLS",
    "METRICS",
    "ORDERS",
    "Outcome",
    "Perturbation",
    "grid",
    "measured",
    "measured_each",
    "most_salient",
    "perturbed_outcomes",
]
