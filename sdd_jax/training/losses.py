"""What training makes small."""

import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from sdd_jax import checks

SMOOTHING = checks.real(0, 1, below=True)


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " batch"]:
    """Return each image's cross-entropy in nats, float32.

    Args:
        logits: one a class.
        labels: the true class.
        label_smoothing: the share of the target that is spread over all classes.

    Raises:
        InputError: a label is no class, or the share is none. Under `jax.jit`, where
            nothing can be refused, the loss of what is no class is NaN.
    """
    num_batch, num_classes = logits.shape
    labels = checks.classes(labels, num_classes, "labels", (num_batch,))
    checks.require(label_smoothing, SMOOTHING, "label_smoothing")
    losses = cross_entropy_of_classes(logits, labels, label_smoothing=label_smoothing)
    return jnp.where(checks.are_classes(labels, num_classes), losses, jnp.nan)


def cross_entropy_of_classes(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float,
) -> Float[Array, " batch"]:
    """Return `cross_entropy` of labels that are known to be classes.

    For whoever differentiates it, and looks after the labels outside of the gradient:
    in it, even a choice that is always the same rounds otherwise.
    """
    classes = jnp.arange(logits.shape[1])
    targets = jnp.equal(labels[:, None], classes).astype(jnp.float32)
    targets = optax.smooth_labels(targets, label_smoothing)
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return optax.softmax_cross_entropy(logits.astype(dtype), targets)
