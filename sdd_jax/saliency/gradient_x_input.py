"""Gradient times input: a first-order guess at what each pixel adds."""

from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.input_gradients import value_and_gradient
from sdd_jax.types import Explanation


def gradient_x_input(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return the sum over channels of x dy/dx, signed, x the normalised image.

    What is multiplied with is the distance from the network's mean colour, not from
    black.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.

    References:
        Shrikumar, Greenside, Shcherbina and Kundaje, "Not Just a Black Box: Learning
        Important Features Through Propagating Activation Differences",
        arXiv:1605.01713, 2016.
    """
    x = model.normalised(clean.images)
    _, gradients = value_and_gradient(model, clean, x)
    return Explanation((x * gradients).sum(3))
