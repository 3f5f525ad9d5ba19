"""What in the probe is more like itself than like the reference."""

from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.pair_saliency.similarity import along, exact
from sdd_jax.types import Explanation


def one_sided_distance_grid(
    pair: PairPass,
) -> tuple[Float[Array, "batch rows columns"], Float[Array, " batch"]]:
    """Return D on the network's cells, and the bias: their sum is 1 - cosine, exactly.

    With u = e / |e| of the probe, v of the reference: D_hw = z_hw . (u - v) / |e|, the
    bias c . (u - v) / |e|. It is the exponent of SDD for the probe itself as target,
    the reference as only rival, and F = 1.
    """
    return along(pair, pair.probe.directions - pair.reference.directions)


def one_sided_distance(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return D at the images' resolution; its details are `map_sum` and `bias`.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
    """
    cells, bias = one_sided_distance_grid(pair)
    return exact(model, pair, cells, bias)
