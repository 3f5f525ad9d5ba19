"""The methods of pairs by name."""

from collections.abc import Callable

from sdd_jax.pair_saliency.distance import distance
from sdd_jax.pair_saliency.fine_distance import fine_distance
from sdd_jax.pair_saliency.fine_similarity import fine_similarity
from sdd_jax.pair_saliency.one_sided_distance import one_sided_distance
from sdd_jax.pair_saliency.pair_sdd import pair_sdd
from sdd_jax.pair_saliency.similarity import similarity
from sdd_jax.types import Explanation

METHODS: dict[str, Callable[..., Explanation]] = {
    "similarity": similarity,
    "fine_similarity": fine_similarity,
    "pair_sdd": pair_sdd,  # takes `rivals`
    "distance": distance,
    "one_sided_distance": one_sided_distance,
    "fine_distance": fine_distance,
}

# What each shows: why two are alike, or where they differ.
QUESTIONS = {
    "similarity": "alike",
    "fine_similarity": "alike",
    "pair_sdd": "alike",
    "distance": "different",
    "one_sided_distance": "different",
    "fine_distance": "different",
}
