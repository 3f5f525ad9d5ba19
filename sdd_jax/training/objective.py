"""What training makes small, of a head that is whole or divided among the devices.

A divided head has a part of the classes on each device, and so have its logits, which
are never brought together. Of the batch, the features and labels travel to all devices,
batch x features; of the logits, a maximum, a sum of exponentials and the true class's,
three numbers an image. The gradient of a device's part of the kernel is made there and
stays there; that of the features is summed over the devices.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float, Int

from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import LOWEST
from sdd_jax.training.losses import cross_entropy_of_classes
from sdd_jax.training.margins import SCALE, Margin, cosines, with_margin

Total = Callable[[Array], Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a head makes of a batch."""

    losses: Any  # float32 [batch], cross-entropy in nats; of a wrong label, anything
    predicted: Any  # int32 [batch], the likeliest class, of equals the first
    statistics: Any  # the loss's own, after this batch; of most losses, nothing


def outcomes(
    head: PooledHead,
    feature_maps: Float[Array, "batch height width features"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float = 0.0,
    margin: Margin | None = None,
    statistics: Mapping[str, Array] | None = None,
) -> Outcomes:
    """Return each image's loss and predicted class.

    Args:
        head: whole or divided; a batch of a divided one must divide as well.
        feature_maps: what the head takes.
        labels: the true classes. Whoever calls looks after those that are none.
        label_smoothing: see `losses.cross_entropy`.
        margin: of `margins.LOSSES`; None is the softmax of the head's own logits.
        statistics: the margin's running ones, before this batch.
    """
    features, shifts, statistics = (
        head.standardised(feature_maps),
        None,
        statistics or {},
    )
    if margin is not None:
        norms = jnp.linalg.norm(lax.stop_gradient(features), axis=1)
        *shifts, statistics = margin.shifts(norms, statistics)
    if head.is_divided:
        found = _of_parts(head, features, labels, shifts, label_smoothing)
        return Outcomes(*found, statistics)
    if margin is None:
        answers = logits = head.logits(feature_maps)
    else:
        is_label = labels[:, None] == jnp.arange(head.num_classes)
        answers = cosines(features, head.kernel[...])
        logits = _shifted(answers, is_label, shifts, lambda x: x)
    losses = cross_entropy_of_classes(logits, labels, label_smoothing=label_smoothing)
    return Outcomes(losses, answers.argmax(1), statistics)


def _shifted(
    answers: Float[Array, "batch part"],
    is_label: Bool[Array, "batch part"],
    shifts: Any,
    total: Total,
) -> Float[Array, "batch part"]:
    """Return the margin's logits of cosines; `total` sums over the devices."""
    own = total(jnp.where(is_label, answers, 0.0).sum(1))
    moved = with_margin(own, *shifts)[:, None]
    return SCALE * jnp.where(is_label, moved, answers)


def _of_parts(
    head: PooledHead,
    features: Float[Array, "batch features"],
    labels: Int[Array, " batch"],
    shifts: Any,
    label_smoothing: float,
) -> tuple[Float[Array, " batch"], Int[Array, " batch"]]:
    """Return losses and predictions of a divided head. The mesh must be set."""

    def on_one_device(mine: Any, kernel: Array, offset: Array) -> tuple[Array, Array]:
        features, labels, shifts = jax.tree.map(
            lambda x: lax.all_gather(x, "data", tiled=True), mine
        )
        first = lax.axis_index("data") * kernel.shape[1]
        classes = first + jnp.arange(kernel.shape[1])
        is_label = labels[:, None] == classes
        if shifts is None:
            answers = jnp.dot(features, kernel, precision="highest") + offset
            logits = answers
        else:
            answers = cosines(features, kernel)
            logits = _shifted(answers, is_label, shifts, _over_devices)
        # What makes up the last part is no class: no loss, no gradient.
        is_class = classes < head.num_classes
        losses = cross_entropy_of_parts(
            jnp.where(is_class, logits, LOWEST),
            is_label,
            is_class,
            num_classes=head.num_classes,
            label_smoothing=label_smoothing,
        )
        return losses, _likeliest(jnp.where(is_class, answers, LOWEST), first)

    program = jax.shard_map(
        on_one_device,
        in_specs=(P("data"), P(None, "data"), P("data")),
        out_specs=P(),
    )
    batch = features, labels, shifts
    return program(batch, head.kernel[...], head.offset[...])


def _over_devices(x: Array) -> Array:
    return lax.psum(x, "data")


def cross_entropy_of_parts(
    logits: Float[Array, "batch part"],
    is_label: Bool[Array, "batch part"],
    is_class: Bool[Array, " part"],
    *,
    num_classes: int,
    label_smoothing: float,
) -> Float[Array, " batch"]:
    """Return `cross_entropy` of the whole batch, from each device's part of the logits.

    With x the logits, m their maximum, n classes and s the smoothing,
    log sum_c exp(x_c - m) - (1 - s) (x_label - m) - s / n sum_c (x_c - m); each sum is
    taken on every device and then over the devices.

    Args:
        logits: of the device's own classes; `LOWEST` where there is no class.
        is_label: the true class, if it is the device's.
        is_class: which of the device's classes there are.
        num_classes: over all devices.
        label_smoothing: see `losses.cross_entropy`.
    """

    def total(x: Array, where: Array) -> Array:
        return _over_devices(jnp.sum(x, axis=1, where=where))

    highest = lax.pmax(lax.stop_gradient(logits.max(1)), "data")
    below = logits - highest[:, None]
    losses = jnp.log(total(jnp.exp(below), is_class))
    losses -= (1 - label_smoothing) * total(below, is_label)
    if label_smoothing:
        losses -= label_smoothing / num_classes * total(below, is_class)
    return losses


def _likeliest(
    answers: Float[Array, "batch part"], first: Int[Array, ""]
) -> Int[Array, " batch"]:
    """Return the class of the largest answer on any device, of equals the first."""
    answers = lax.stop_gradient(answers)
    largest = answers.max(1)
    is_largest = largest == lax.pmax(largest, "data")
    found = jnp.where(is_largest, first + answers.argmax(1), jnp.iinfo(jnp.int32).max)
    return lax.pmin(found, "data")
