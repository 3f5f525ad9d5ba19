"""4. Saliency -> ranks -> perturbed images -> outcomes -> metrics: the proof.

Measures in several steps are modules of their own: `average_drop`, `infidelity`,
`specificity`; and of pairs of images, `patch_games` and `pair_curves`.
"""

from sdd_jax.faithfulness.curves import (
    CURVE_METRICS,
    FRACTIONS,
    curve_grid,
    measured_fills,
    relative_confidence,
)
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.ground_truth import (
    energy_inside,
    pointing_game,
    random_value,
    relevance_rank,
)
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
from sdd_jax.faithfulness.sanity import Similarity, similarity
from sdd_jax.faithfulness.sensitivity import max_sensitivity
from sdd_jax.faithfulness.statistics import (
    bootstrap_identity_means,
    estimate,
    holm,
    identity_means,
    wilcoxon,
)

__all__ = [
    "CURVE_METRICS",
    "FILLS",
    "FRACTIONS",
    "METRICS",
    "ORDERS",
    "Outcome",
    "Perturbation",
    "Similarity",
    "bootstrap_identity_means",
    "curve_grid",
    "edge_length",
    "energy_inside",
    "estimate",
    "gini",
    "grid",
    "half_mass_area",
    "holm",
    "identity_means",
    "is_flat",
    "max_sensitivity",
    "measured",
    "measured_each",
    "measured_fills",
    "most_salient",
    "perturbed_outcomes",
    "pointing_game",
    "random_value",
    "relative_confidence",
    "relevance_rank",
    "similarity",
    "wilcoxon",
]
