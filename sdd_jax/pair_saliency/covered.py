"""What the cosine is when parts of one image, or of both, are covered.

Images go through the network a block at a time: memory is that of one block, however
many masks there are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt8

from sdd_jax.models import FaceClassifier
from sdd_jax.models.gallery import embedding_of
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.masked import mixed


def directions_of(
    model: FaceClassifier, images: UInt8[Array, "batch height width 3"]
) -> Float[Array, "batch dimensions"]:
    """Return the images' embeddings, made of length 1."""
    found = embedding_of(model).embeddings(model.feature_maps(images))
    return found / jnp.linalg.norm(found, axis=1, keepdims=True)


def covered_cosines(
    model: FaceClassifier,
    pair: PairPass,
    mask_of: Callable[[Array], Array],
    num_masks: int,
    *,
    both: bool,
    baseline: str,
) -> Float[Array, "masks batch"]:
    """Return the cosine of every pair under each mask.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        mask_of: a mask's number -> float [batch, height, width], 1 where a pixel stays.
        num_masks: how many.
        both: the reference is covered as well, at the same places.
        baseline: what stands where nothing is kept, a name in `masked.BASELINES`.
    """

    def run(number: Array) -> Array:
        masks = mask_of(number)

        def directions(images: Array) -> Array:
            return directions_of(model, mixed(images, masks, baseline))

        other = directions(pair.reference.images) if both else pair.reference.directions
        probe = directions(pair.probe.images)
        return jnp.einsum("bd,bd->b", probe, other, precision="highest")

    return jax.lax.map(run, jnp.arange(num_masks, dtype=jnp.int32))
