"""Scaled directed divergence: what separates a person from the look-alikes."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key, UInt8

from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.divergence import scaled_directed_divergence
from sdd_jax.types import Explanation


def top_rivals(
    logits: Float[Array, "batch classes"],
    targets: Int[Array, " batch"],
    *,
    num_classes_compared: int = 5,
) -> Int[Array, "batch rivals"]:
    """Return the other classes among the top `num_classes_compared`, likeliest first.

    Where the target is not among them, the first `num_classes_compared` - 1 of those:
    the number of rivals is the same for every picture. Equal logits keep the classes'
    order. Fewer classes than asked for are all compared.
    """
    num_compared = min(num_classes_compared, logits.shape[1])
    if num_compared < 2:
        raise InputError(
            f"num_classes_compared is {num_classes_compared} among {logits.shape[1]} "
            f"classes, but a divergence needs a target and a rival: use at least 2"
        )
    top = jax.lax.top_k(logits, num_compared)[1]
    is_target = top == targets[:, None]
    order = jnp.argsort(is_target, axis=1, stable=True)[:, : num_compared - 1]
    return jnp.take_along_axis(top, order, axis=1)


def explain(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    *,
    num_classes_compared: int = 5,
    centre: bool = True,
    scale: float | None = None,
    amplification: float | None = None,
) -> Explanation:
    """Return the divergence at the pictures' resolution, its rivals, F and alpha.

    Args:
        model: the classifier.
        images: RGB.
        targets: the class each picture is explained for.
        num_classes_compared: the target and its rivals together.
        centre: remove the mean class weight first; see `PooledHead.class_maps`.
        scale: the paper's F; adaptive where None.
        amplification: the paper's alpha; adaptive where None.
    """
    feature_maps = model.feature_maps(images)
    logits = model.logits(feature_maps)
    rivals = top_rivals(logits, targets, num_classes_compared=num_classes_compared)
    classes = jnp.concatenate([targets[:, None].astype(rivals.dtype), rivals], axis=1)
    maps = model.class_maps(feature_maps, classes, centre=centre)

    def for_each(value: float | None) -> Array | None:
        return None if value is None else jnp.full(images.shape[:1], value, maps.dtype)

    saliency, scales, amplifications = scaled_directed_divergence(
        maps[:, 0],
        maps[:, 1:],
        scale=for_each(scale),
        amplification=for_each(amplification),
    )
    return Explanation(
        upsample(saliency, images.shape[1], images.shape[2], model.cells),
        rivals,
        scales,
        amplifications,
    )


def sdd(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    key: Key[Array, "..."],
    **options: Any,
) -> Float[Array, "batch height width"]:
    """Return `explain`'s saliency alone, in the signature all methods share."""
    del key  # nothing is drawn
    return explain(model, images, targets, **options).saliency
