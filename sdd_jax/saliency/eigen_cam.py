"""Eigen-CAM: activations along their first principal component, without a class."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.activations import activations_at
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation


def first_component(
    activations: Float[Array, "batch rows columns channels"], *, centre: bool = False
) -> Float[Array, "batch rows columns"]:
    """Return A v, v the first right singular vector of A, [positions, channels].

    Its sign is the one by which the map and the sum of squares over the channels agree:
    the sum of their product over positions, each image's own, is not negative.

    Args:
        activations: of a stage.
        centre: remove each channel's mean over the positions first.
    """
    batch, rows, columns, channels = activations.shape
    positions = activations.astype(jnp.float32).reshape(batch, -1, channels)
    squares = (positions**2).sum(2)
    if centre:
        positions = positions - positions.mean(1, keepdims=True)
    # Of the two Gram matrices the smaller one; singular vectors are unique but for
    # their sign, and eigh is the same for the same image wherever it stands.
    is_wide = channels > rows * columns
    sides = "bpc,bqc->bpq" if is_wide else "bpc,bpd->bcd"
    gram = jnp.einsum(sides, positions, positions, precision="highest")
    values, vectors = jnp.linalg.eigh(gram)
    vector = vectors[:, :, -1]
    if is_wide:
        maps = jnp.sqrt(jnp.maximum(values[:, -1:], 0)) * vector
    else:
        maps = jnp.einsum("bpc,bc->bp", positions, vector, precision="highest")
    agreement = (maps * squares).sum(1, keepdims=True)
    return jnp.where(agreement < 0, -maps, maps).reshape(batch, rows, columns)


def eigen_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    centre: bool = False,
    stage: str | None = None,
) -> Explanation:
    """Return the activations' first principal component, whoever is explained.

    The sign is free in the paper; `first_component` says how it is fixed.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        centre: remove each channel's mean over the positions first, as pytorch-grad-cam
            does and the paper does not.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal
        Components", IJCNN 2020.
    """
    activations, cells = activations_at(model, clean, stage)
    maps = first_component(activations, centre=centre)
    return Explanation(upsample(maps, clean.images.shape[1:3], cells))
