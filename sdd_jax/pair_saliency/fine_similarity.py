"""Why are these two alike? The exact map, placed by what finer stages hold.

u(m) is what of a map is above 0, divided by the image's largest, at the images'
resolution; products are per pixel. All of the probe:

    S    the exact similarity map
    T    u(S) times u(sum_c A_s g_s) of every stage but the last, g the gradient of the
         cosine
    E    the product over the same stages of u(sum_c A_s^2)

The sum over channels keeps its signs: what speaks against the pair's likeness is taken
off. This project's own.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.gradients import cosine_gradients
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.pair_saliency.similarity import similarity_grid
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.placement import blurred, deepest, energy, unit
from sdd_jax.types import Explanation

# Of 1 - cosine: below it the cosine is at its largest, and its gradient, which then is
# 0, nothing but rounding errors.
_ROUNDING = 1e-6


def fine_similarity(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    num_stages: int = 3,
    blur: float = 0.015,
) -> Explanation:
    """Return sqrt(u(T) u(S) E); see the module. `bias` and `map_sum` are those of S.

    Where no cell of S is above 0, the map is 0 everywhere. Of an image and itself the
    cosine has no gradient, and the map is u(S) sqrt(E). More blur keeps more when all
    else is hidden, and takes less when the map is.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        num_stages: how many of the deepest stages count.
        blur: standard deviation of a Gaussian at the end, in image widths.

    Raises:
        InputError: a number is out of range.
    """
    stages = deepest(model, num_stages)
    size = pair.probe.images.shape[1:3]
    cells, bias = similarity_grid(pair)
    similar = unit(upsample(cells, size, model.cells))
    gradients = cosine_gradients(model, pair)
    is_same = (1 - pair.cosine < _ROUNDING)[:, None, None]
    product = similar
    for stage in stages[:-1]:
        activations, gradient = (
            maps[stage.name].astype(jnp.float32)
            for maps in (pair.probe.activations, gradients)
        )
        signed = jnp.where(is_same, 1, (activations * gradient).sum(3))
        product = product * unit(upsample(signed, size, stage.cells))
    product = unit(product) * similar * energy(stages, pair.probe.activations, size)
    details = {"map_sum": cells.sum((1, 2)), "bias": bias}
    return Explanation(blurred(jnp.sqrt(product), blur), details)
