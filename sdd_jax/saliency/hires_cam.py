"""HiResCAM: every activation times its own gradient."""

from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import placed_at_stage
from sdd_jax.types import Explanation


def hires_cam_map(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return HiResCAM on a stage's cells."""
    return (activations * gradients).sum(3)


def hires_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return sum_k g_k A_k, signed, g the gradient of the target's logit.

    On the last stage of a network that averages over its h w cells and has one linear
    layer, it is CAM / (h w), of a class map that is not centred.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations
        of convolutional neural networks", arXiv:2011.08891, 2020.
    """
    return Explanation(placed_at_stage(model, clean, stage, hires_cam_map))
