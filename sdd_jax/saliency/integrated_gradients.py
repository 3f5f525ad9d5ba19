"""Integrated gradients: the gradient's mean on the way from black to the image."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.input_gradients import value_and_gradient
from sdd_jax.types import Explanation

STEPS = checks.whole(1, 10**4)


def integrated_gradients(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_steps: int = 32,
) -> Explanation:
    """Return the sum over channels of (x - x0) mean(dy/dx), signed, x0 being black.

    The mean is over the middles of equal steps on the straight line from x0 to x. The
    details are `attributed`, float32 [batch], the map's sum, and `difference`, float32
    [batch], y(x) - y(x0): with infinitely many steps they are equal, which the paper
    calls completeness.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_steps: forward and backward passes, one after the other.

    Raises:
        InputError: `num_steps` is out of range.

    References:
        Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks",
        ICML 2017, equations 1 and 3.
    """
    checks.require(num_steps, STEPS, "num_steps")
    x = model.normalised(clean.images)
    black = model.normalised(jnp.zeros_like(clean.images))

    def add(step: Array, total: Array) -> Array:
        share = (step + 0.5) / num_steps
        gradients = value_and_gradient(model, clean, black + share * (x - black))[1]
        return total + gradients

    total = jax.lax.fori_loop(0, num_steps, add, jnp.zeros_like(x))
    saliency = ((x - black) * total / num_steps).sum(3)
    before = model.scores(model.backbone(black), clean.targets).value
    after = model.scores(clean.feature_maps, clean.targets).value
    details = {"attributed": saliency.sum((1, 2)), "difference": after - before}
    return Explanation(saliency, details)
