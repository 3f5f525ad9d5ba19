"""Two images -> saliency: where a probe is like a reference, and where it differs.

Every method is `method(model, pair, key) -> Explanation(saliency, details)`:

    pair      from `pair_pass`: both sides' images, cells, embeddings and stages, and
              their cosine
    key       one random key, or [batch] of them
    saliency  float32, [batch, height, width], on the probe; larger = more of what the
              method looks for. On the reference: that of `pair.swapped()`
    details   {name: [batch, ...]}, what else the method found on the way

An exact map adds up: summed over the network's own cells, with its bias, it is the
cosine, or 1 - cosine. Those cells are `similarity_grid` and `distance_grid`.
"""

from sdd_jax.pair_saliency.distance import distance_grid
from sdd_jax.pair_saliency.methods import METHODS
from sdd_jax.pair_saliency.one_sided_distance import one_sided_distance_grid
from sdd_jax.pair_saliency.pair import PairPass, Side, pair_pass
from sdd_jax.pair_saliency.similarity import similarity_grid

__all__ = [
    "METHODS",
    "PairPass",
    "Side",
    "distance_grid",
    "one_sided_distance_grid",
    "pair_pass",
    "similarity_grid",
]
