"""Scaled directed divergence: what separates a person from the look-alikes."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import explained, upsample
from sdd_jax.saliency.divergence import scaled_directed_divergence
from sdd_jax.types import Explanation, Ranking

FACTOR = checks.real(0, above=True)  # the paper's F and alpha


def compared_classes(
    model: FaceClassifier,
    feature_maps: Float[Array, "batch rows columns features"],
    *,
    num_classes_compared: int = 5,
) -> Ranking:
    """Return the likeliest classes, from which `top_rivals` takes a target's rivals.

    Fewer classes than asked for are all compared.

    Raises:
        InputError: there would be no rival.
    """
    if num_classes_compared not in checks.whole(2) or model.num_classes < 2:
        raise InputError(
            f"num_classes_compared is {num_classes_compared} among {model.num_classes} "
            f"classes, but a divergence needs a target and a rival: use at least 2"
        )
    return model.ranking(feature_maps, num_top=num_classes_compared)


def top_rivals(
    ranking: Ranking, targets: Int[Array, " batch"]
) -> tuple[Int[Array, "batch rivals"], Float[Array, "batch rivals"]]:
    """Return the other classes among the likeliest, and their softmax probabilities.

    Where the target is not among them, all but the last: the number of rivals is the
    same for every picture. The likeliest come first; equal logits keep the classes'
    order.
    """
    is_target = ranking.classes == targets[:, None]
    order = jnp.argsort(is_target, axis=1, stable=True)[:, :-1]
    return (
        jnp.take_along_axis(ranking.classes, order, axis=1),
        jnp.take_along_axis(ranking.probabilities, order, axis=1),
    )


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

    Raises:
        InputError: a target is no class, there would be no rival, or F or alpha is not
            above 0.
    """
    targets = explained(model, images, targets)
    for name, value in (("scale", scale), ("amplification", amplification)):
        if value is not None:
            checks.require(value, FACTOR, name)
    feature_maps = model.feature_maps(images)
    ranking = compared_classes(
        model, feature_maps, num_classes_compared=num_classes_compared
    )
    rivals, rival_probabilities = top_rivals(ranking, targets)
    classes = jnp.concatenate([targets[:, None], rivals], axis=1)
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
        rival_probabilities,
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
