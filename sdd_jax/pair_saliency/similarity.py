"""The exact similarity map: what each cell of the probe adds to the cosine."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.types import Explanation


def along(
    pair: PairPass, directions: Float[Array, "batch dimensions"]
) -> tuple[Float[Array, "batch rows columns"], Float[Array, " batch"]]:
    """Return z . v / |e| of the probe's cells, and the bias: together e . v / |e|.

    Args:
        pair: the pair.
        directions: v.
    """
    directions = directions / pair.probe.norms[:, None]
    cells = jnp.einsum(
        "bhwd,bd->bhw", pair.probe.cells, directions, precision="highest"
    )
    return cells, jnp.dot(directions, pair.bias, precision="highest")


def similarity_grid(
    pair: PairPass,
) -> tuple[Float[Array, "batch rows columns"], Float[Array, " batch"]]:
    """Return S on the network's cells, and the bias: their sum is the cosine, exactly.

    S_hw = z_hw . r / (|e| |r|), the bias c . r / (|e| |r|), with r the reference's
    embedding. The bias is not small: show it beside the map.

    References:
        Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for
        Discriminative Localization", CVPR 2016, equation 2: the same sum, for the
        logit of a class.
    """
    return along(pair, pair.reference.directions)


def similarity(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return S at the images' resolution; its details are `map_sum` and `bias`.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
    """
    cells, bias = similarity_grid(pair)
    return exact(model, pair, cells, bias)


def exact(
    model: FaceClassifier,
    pair: PairPass,
    cells: Float[Array, "batch rows columns"],
    bias: Float[Array, " batch"],
) -> Explanation:
    """Return an exact map at the images' resolution, and the two parts of its sum."""
    maps = upsample(cells, pair.probe.images.shape[1:3], model.cells)
    return Explanation(maps, {"map_sum": cells.sum((1, 2)), "bias": bias})
