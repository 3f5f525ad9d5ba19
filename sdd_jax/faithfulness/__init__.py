"""4. Saliency -> ranks -> perturbed images -> outcomes -> metrics: the proof."""

from sdd_jax.faithfulness.curves import CURVE_METRICS, curve_grid, measured_fills
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.map_measures import (
    edge_length,
    gini,
    half_mass_area,
    is_flat,
)
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
    "CURVE_METRICS",
    "FILLS",
    "METRICS",
    "ORDERS",
    "Outcome",
    "Perturbation",
    "curve_grid",
    "edge_length",
    "gini",
    "grid",
    "half_mass_area",
    "is_flat",
    "measured",
    "measured_each",
    "measured_fills",
    "most_salient",
    "perturbed_outcomes",
]
