"""SmoothGrad: the mean gradient of noisy copies of the image."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks, keys
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.input_gradients import (
    OVER_CHANNELS,
    require_over_channels,
    value_and_gradient,
)
from sdd_jax.types import Explanation

SAMPLES = checks.whole(1, 10**4)
NOISE = checks.real(0, 10)


def smooth_grad(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_samples: int = 50,
    noise: float = 0.15,
    over_channels: str = "sum",
) -> Explanation:
    """Return |mean of dy/dx over noisy copies of x|, x the normalised image.

    The gradients are averaged with their signs.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: what the noise is drawn with, an image's own.
        num_samples: copies: forward and backward passes, one after the other.
        noise: standard deviation of the Gaussian noise, as a share of the image's range
            from its smallest to its largest number; the paper finds 0.1 to 0.2 good.
        over_channels: "sum" or "max".

    Raises:
        InputError: a number is out of range, or `over_channels` is not known.

    References:
        Smilkov, Thorat, Kim, Viegas and Wattenberg, "SmoothGrad: removing noise by
        adding noise", arXiv:1706.03825, 2017.
    """
    checks.require(num_samples, SAMPLES, "num_samples")
    checks.require(noise, NOISE, "noise")
    require_over_channels(over_channels)
    x = model.normalised(clean.images)
    axes = (1, 2, 3)
    deviation = noise * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
    own = keys.per_image(key, len(x))

    def add(sample: Array, total: Array) -> Array:
        drawn = jax.vmap(lambda k: jax.random.fold_in(k, sample))(own)
        normal = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:]))(drawn)
        return total + value_and_gradient(model, clean, x + deviation * normal)[1]

    total = jax.lax.fori_loop(0, num_samples, add, jnp.zeros_like(x))
    return Explanation(OVER_CHANNELS[over_channels](total / num_samples))
