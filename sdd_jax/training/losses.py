"""What training makes small."""

import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " batch"]:
    """Return each picture's cross-entropy in nats, float32.

    Args:
        logits: one a class.
        labels: the true class.
        label_smoothing: the share of the target that is spread over all classes.
    """
    num_classes = logits.shape[1]
    targets = jnp.equal(labels[:, None], jnp.arange(num_classes)).astype(jnp.float32)
    targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), targets)
