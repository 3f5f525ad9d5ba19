"""4. Saliency -> masks -> scores -> sums: the proof of an explanation."""

from sdd_jax.faithfulness.masking import SCHEMES, check_fills, masked_predictions
from sdd_jax.faithfulness.masks import FILLS, most_salient
from sdd_jax.faithfulness.metrics import METRICS, effects

__all__ = [
    "FILLS",
    "METRICS",
    "SCHEMES",
    "check_fills",
    "effects",
    "masked_predictions",
    "most_salient",
]
