"""The class activation map of the target: what speaks for it."""

from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation


def cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    centre: bool = True,
) -> Explanation:
    """Return the targets' class activation maps at the images' resolution.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        centre: remove the mean class weight first; see `PooledHead.class_maps`.
    """
    targets = clean.targets[:, None]
    maps = model.class_maps(clean.feature_maps, targets, centre=centre)
    return Explanation(upsample(maps[:, 0], clean.images.shape[1:3], model.cells))
