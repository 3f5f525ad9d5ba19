"""What training makes small, of a head that is whole or divided among the devices.

A divided head has a part of the classes on each device, and so have its logits, which
are never brought together. Of the batch, the features and labels travel to all devices,
batch x features; of the logits, a maximum, a sum of exponentials and the true class's,
three numbers an image. The gradient of a device's part of the kernel is made there and
stays there; that of the features is summed over the devices.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int

from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import LOWEST
from sdd_jax.training.losses import cross_entropy_of_classes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a head makes of a batch."""

    losses: Any  # float32 [batch], cross-entropy in nats; of a wrong label, anything
    predicted: Any  # int32 [batch], the likeliest class, of equals the first


def outcomes(
    head: PooledHead,
    feature_maps: Float[Array, "batch height width features"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float,
) -> Outcomes:
    """Return each image's loss and predicted class.

    Args:
        head: whole or divided; a batch of a divided one must divide as well.
        feature_maps: what the head takes.
        labels: the true classes. Whoever calls looks after those that are none.
        label_smoothing: see `losses.cross_entropy`.
    """
    if head.is_divided:
        return _of_parts(head, feature_maps, labels, label_smoothing)
    logits = head.logits(feature_maps)
    losses = cross_entropy_of_classes(logits, labels, label_smoothing=label_smoothing)
    return Outcomes(losses, logits.argmax(1))


def _of_parts(
    head: PooledHead,
    feature_maps: Float[Array, "batch height width features"],
    labels: Int[Array, " batch"],
    label_smoothing: float,
) -> Outcomes:
    """Return `outcomes` of a divided head. The mesh must be set."""

    def on_one_device(mine: Any, kernel: Array, offset: Array) -> Outcomes:
        features, labels = (lax.all_gather(x, "data", tiled=True) for x in mine)
        first = lax.axis_index("data") * kernel.shape[1]
        logits = jnp.dot(features, kernel, precision="highest") + offset
        # What makes up the last part is no class: no loss, no gradient.
        is_class = first + jnp.arange(kernel.shape[1]) < head.num_classes
        return cross_entropy_of_parts(
            jnp.where(is_class, logits, LOWEST),
            labels - first,
            first,
            num_classes=head.num_classes,
            label_smoothing=label_smoothing,
        )

    program = jax.shard_map(
        on_one_device,
        in_specs=(P("data"), P(None, "data"), P("data")),
        out_specs=P(),
    )
    batch = head.standardised(feature_maps), labels
    return program(batch, head.kernel[...], head.offset[...])


def cross_entropy_of_parts(
    logits: Float[Array, "batch part"],
    labels: Int[Array, " batch"],
    first: Int[Array, ""],
    *,
    num_classes: int,
    label_smoothing: float,
) -> Outcomes:
    """Return every device the whole batch's outcomes from its part of the logits.

    With x the logits, m their maximum, n classes and s the smoothing,
    log sum_c exp(x_c - m) - (1 - s) (x_label - m) - s / n sum_c (x_c - m):
    `cross_entropy`, each sum taken on every device and then over the devices.

    Args:
        logits: of the device's own classes; `LOWEST` where there is no class.
        labels: counted from the device's first class; they may lie outside of it.
        first: the number of the device's first class.
        num_classes: over all devices.
        label_smoothing: see `losses.cross_entropy`.
    """
    places = jnp.arange(logits.shape[1])
    largest = lax.stop_gradient(logits.max(1))
    highest = lax.pmax(largest, "data")
    # Of equal logits the first class wins, as in `argmax`.
    own = jnp.where(largest == highest, first + logits.argmax(1), num_classes)
    predicted = lax.pmin(own, "data")

    def total(x: Array, where: Array) -> Array:
        return lax.psum(jnp.sum(x, axis=1, where=where), "data")

    below = logits - highest[:, None]
    is_class = first + places < num_classes
    losses = jnp.log(total(jnp.exp(below), is_class))
    losses -= (1 - label_smoothing) * total(below, labels[:, None] == places)
    if label_smoothing:
        losses -= label_smoothing / num_classes * total(below, is_class)
    return Outcomes(losses, predicted)
