"""The exact distance map: where two images differ, seen from both of them."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.pair_saliency.similarity import exact
from sdd_jax.types import Explanation


def distance_grid(
    pair: PairPass,
) -> tuple[Float[Array, "batch rows columns"], Float[Array, " batch"]]:
    """Return Q on the network's cells, and the bias: their sum is 1 - cosine, exactly.

    With u = e / |e| of the probe, v of the reference: Q_hw = (z_hw / |e| - z'_hw /
    |e'|) . (u - v) / 2, the bias c . (u - v) (1 / |e| - 1 / |e'|) / 2. It is the same
    from either side. This project's own.
    """
    probe, reference = pair.probe, pair.reference
    apart = (probe.directions - reference.directions) / 2
    shares = [
        side.cells / side.norms[:, None, None, None] for side in (probe, reference)
    ]
    cells = jnp.einsum(
        "bhwd,bd->bhw", shares[0] - shares[1], apart, precision="highest"
    )
    lengths = 1 / probe.norms - 1 / reference.norms
    return cells, jnp.dot(apart, pair.bias, precision="highest") * lengths


def distance(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return Q at the images' resolution; its details are `map_sum` and `bias`.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
    """
    cells, bias = distance_grid(pair)
    return exact(model, pair, cells, bias)
