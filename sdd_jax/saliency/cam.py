"""The class activation map of the target: what speaks for it."""

from jax import Array
from jaxtyping import Float, Int, Key, UInt8

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import explained, upsample


def cam(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    key: Key[Array, "..."],
    *,
    centre: bool = True,
) -> Float[Array, "batch height width"]:
    """Return the targets' class activation maps at the pictures' resolution.

    Args:
        model: the classifier.
        images: RGB.
        targets: the class each picture is explained for.
        key: not used; nothing is drawn.
        centre: remove the mean class weight first; see `PooledHead.class_maps`.
    """
    targets = explained(model, images, targets)
    feature_maps = model.feature_maps(images)
    maps = model.class_maps(feature_maps, targets[:, None], centre=centre)
    return upsample(maps[:, 0], images.shape[1], images.shape[2], model.cells)
