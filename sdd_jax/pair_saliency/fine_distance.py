"""Where do these two differ? The exact map, placed by what finer stages hold.

u(m) is what of a map is above 0, divided by the image's largest, at the images'
resolution; products are per pixel. With dA_s the probe's activations less the
reference's:

    Q    the exact, two-sided distance map
    T    the product over the stages of u(sum_c max(dA_s g_s, 0)); g is the mean of the
         distance's gradients on both sides, each pointing away from the other image
    dE   the product over the stages but the last of u(sum_c dA_s^2)

The map is the same from either side. This project's own.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.distance import distance_grid
from sdd_jax.pair_saliency.gradients import cosine_gradients
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.placement import blurred, deepest, energy, unit
from sdd_jax.types import Explanation

# Of a cell of Q, which is of the second order: two passes of one image may differ by as
# much, and a map of that would be rounding errors, made large.
_ROUNDING = 1e-9


def fine_distance(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    num_stages: int = 3,
    blur: float = 0.05,
) -> Explanation:
    """Return sqrt(u(T) u(Q) dE); see the module. `bias` and `map_sum` are those of Q.

    Two images that are the same give a map of 0.

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
    cells, bias = distance_grid(pair)
    here, there = (cosine_gradients(model, one) for one in (pair, pair.swapped()))
    differences = {}
    product = jnp.ones((len(cells), *size), jnp.float32)
    for stage in stages:
        one, other = (
            side.activations[stage.name].astype(jnp.float32)
            for side in (pair.probe, pair.reference)
        )
        differences[stage.name] = one - other
        # The distance rises as the cosine falls; seen from the reference, the way to
        # the probe is the way back.
        gradient = (there[stage.name] - here[stage.name]).astype(jnp.float32) / 2
        supporting = jnp.maximum(differences[stage.name] * gradient, 0).sum(3)
        product = product * unit(upsample(supporting, size, stage.cells))
    is_rounding = cells.max((1, 2), keepdims=True) < _ROUNDING
    shown = jnp.where(is_rounding, 0, cells)
    different = unit(upsample(shown, size, model.cells))
    product = unit(product) * different * energy(stages, differences, size)
    details = {"map_sum": cells.sum((1, 2)), "bias": bias}
    return Explanation(blurred(jnp.sqrt(product), blur), details)
