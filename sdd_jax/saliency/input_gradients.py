"""The gradient of the target's logit by the image, and what is made of it.

Gradients are by the numbers that the network takes, (pixel - mean) / scale, in its own
colour order; maps are over its pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation

# How the channels of a pixel become one number.
OVER_CHANNELS: dict[str, Callable[[Array], Array]] = {
    "sum": lambda gradients: jnp.abs(gradients).sum(3),
    "max": lambda gradients: jnp.abs(gradients).max(3),
}


def value_and_gradient(
    model: FaceClassifier, clean: CleanPass, x: Float[Array, "batch height width 3"]
) -> tuple[Float[Array, " batch"], Float[Array, "batch height width 3"]]:
    """Return the targets' logits of normalised images, and their gradients by them.

    Those of no class are NaN.
    """

    def total(x: Array) -> tuple[Array, Array]:
        value = model.scores(model.backbone(x), clean.targets).value
        return value.sum(), value

    gradient, value = jax.grad(total, has_aux=True)(x)
    is_none = jnp.isnan(value)[:, None, None, None]
    return value, jnp.where(is_none, jnp.nan, gradient.astype(jnp.float32))


def require_over_channels(name: str) -> None:
    """Raise InputError where there is no such way to join channels."""
    if name not in OVER_CHANNELS:
        raise InputError(
            f"over_channels is {name!r}: expected one of {', '.join(OVER_CHANNELS)}"
        )


def input_gradients(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    over_channels: str = "sum",
) -> Explanation:
    """Return |dy/dx|, y the target's logit, x the normalised image.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        over_channels: "sum", or "max" as in the paper.

    Raises:
        InputError: `over_channels` is neither.

    References:
        Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks:
        Visualising Image Classification Models and Saliency Maps", ICLR 2014 workshop,
        section 3.1.
    """
    require_over_channels(over_channels)
    _, gradients = value_and_gradient(model, clean, model.normalised(clean.images))
    return Explanation(OVER_CHANNELS[over_channels](gradients))
