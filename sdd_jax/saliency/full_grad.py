"""FullGrad: the gradient by the image and by every layer's constant, all added up."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.models.constants import with_constants_seen
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import stage_activations
from sdd_jax.types import CellGrid, Explanation


def _cells_by_rows(model: FaceClassifier, clean: CleanPass) -> dict[int, CellGrid]:
    """Return where maps of so many rows have their cells, as far as stages tell."""
    names = [stage.name for stage in model.stages]
    look = functools.partial(stage_activations, model, stages=names)
    shapes = jax.eval_shape(look, clean)
    return {shapes[stage.name].shape[1]: stage.cells for stage in model.stages}


def _strength(
    products: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return the sum over channels of |products|, scaled to 0 to 1 for each image."""
    strength = jnp.abs(products)
    strength = strength - strength.min((1, 2, 3), keepdims=True)
    largest = strength.max((1, 2, 3), keepdims=True)
    return (strength / jnp.where(largest > 0, largest, 1.0)).sum(3)


def full_grad(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return the sum over all layers of psi(constant times gradient), and the image's.

    A layer's constant is its bias, and that which batch normalisation hides; psi takes
    absolute values, scales those of a layer and an image together to 0 to 1, adds up
    the channels, and places the map in the image. Maps of a size that no stage has are
    placed as if their cells divided the image into equal parts. A folded network has
    fewer layers, and another map.

    The details are `attributed`, float32 [batch], the sum of all products, with the
    head's own bias, and `value`, float32 [batch], the target's logit. They are equal,
    which the paper calls completeness, in networks of convolutions, rectifiers and
    pooling.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.

    References:
        Srinivas and Fleuret, "Full-Gradient Representation for Neural Network
        Visualization", NeurIPS 2019, and the authors' program for psi.
    """
    size = clean.images.shape[1:3]
    known = _cells_by_rows(model, clean)

    def placed(products: Array) -> Array:
        rows = products.shape[1]
        stride = size[0] / rows
        cells = known.get(rows, CellGrid((stride - 1) / 2, stride))
        return upsample(_strength(products), size, cells)

    # The identity, but the gradient by the two sums is what this layer adds to them: no
    # layer's gradients are kept until the end.
    @jax.custom_vjp
    def see(y: Array, constant: Array, maps: Array, sums: Array) -> Array:
        return y

    def forward(y: Array, constant: Array, *sums: Array) -> tuple[Array, Array]:
        return y, constant

    def backward(constant: Array, gradient: Array) -> tuple[Any, ...]:
        products = gradient.astype(jnp.float32) * constant.astype(jnp.float32)
        added = placed(products), products.sum((1, 2, 3))
        return gradient, jnp.zeros_like(constant), *added

    see.defvjp(forward, backward)

    def total(x: Array, maps: Array, sums: Array) -> tuple[Array, Array]:
        seen = with_constants_seen(model, lambda y, c: see(y, c, maps, sums))
        value = model.scores(seen.backbone(x), clean.targets).value
        return value.sum(), value

    x = model.normalised(clean.images)
    zeros = jnp.zeros(x.shape[:3]), jnp.zeros(len(x))
    (gradient, maps, sums), value = jax.grad(total, (0, 1, 2), has_aux=True)(x, *zeros)
    products = x * gradient
    nothing = jnp.zeros_like(clean.feature_maps)
    bias = model.scores(nothing, clean.targets).value  # of the head
    saliency = _strength(products) + maps
    is_none = jnp.isnan(value)
    return Explanation(
        jnp.where(is_none[:, None, None], jnp.nan, saliency),
        {"attributed": products.sum((1, 2, 3)) + sums + bias, "value": value},
    )
