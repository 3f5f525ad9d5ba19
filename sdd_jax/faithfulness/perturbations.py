"""Masked images and what the network says of them.

A perturbation is an order, a fill and a fraction: deletion fills the most salient
fraction of an image, retention all but it. Knows arrays and an `answer` callable, never
a model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int, Key, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.ranks import num_masked

ORDERS = ("deletion", "retention")


class Perturbation(NamedTuple):
    """What is done to an image."""

    order: str  # deletion or retention
    fill: str  # a name in FILLS
    fraction: float  # of the pixels, the most salient ones


class Outcome(NamedTuple):
    """What the network says of images; NumPy or JAX arrays of one shape."""

    confidence: Any  # float32, the softmax probability of the target
    decision: Any  # int32, the predicted class


def grid(fills: Sequence[str], fractions: Sequence[float]) -> tuple[Perturbation, ...]:
    """Return all of them: by fill, then by order, then by fraction.

    Raises:
        InputError: a fill is not known or stands twice, or there is none.
    """
    checks.require_names(fills, FILLS, "fill")
    return tuple(
        Perturbation(order, fill, fraction)
        for fill in fills
        for order in ORDERS
        for fraction in fractions
    )


def counts_of(
    wanted: Sequence[Perturbation], height: int, width: int
) -> tuple[int, ...]:
    """Return the numbers of pixels that cut an image's order, rising.

    Nothing and all of an image are no cuts.
    """
    counts = {num_masked(each.fraction, height, width) for each in wanted}
    return tuple(sorted(counts - {0, height * width}))


def perturbed_outcomes(
    answer: Callable[[Array, Array], Outcome],
    images: UInt8[Array, "batch height width 3"],
    ranks: UInt8[Array, "methods batch height width"],
    targets: Int[Array, " batch"],
    keys: Key[Array, " batch"],
    *,
    intact: Outcome,
    wanted: Sequence[Perturbation],
) -> Outcome:
    """Return what the network says under every perturbation of every method.

    Each distinct image is scored once: those with nothing filled not at all, and those
    with all filled once a fill, for all methods. One program body serves all of them:
    it is compiled once, and its memory is that of one batch.

    Args:
        answer: images, targets -> the outcome, [batch].
        images: RGB.
        ranks: each method's, from `ranks.ranks` with `counts_of` the perturbations.
        targets: the classes the images are explained for.
        keys: each image's own, for fills that draw.
        intact: of the images as they are, [batch].
        wanted: the perturbations.

    Returns:
        Arrays of shape [methods, perturbations, batch].

    Raises:
        InputError: a fill or an order is not known, a target is below 0, or targets or
            ranks are not one for each image.
    """
    names = tuple(dict.fromkeys(each.fill for each in wanted))
    orders = tuple(dict.fromkeys(each.order for each in wanted))
    checks.require_names(names, FILLS, "fill")
    checks.require_names(orders, dict.fromkeys(ORDERS), "order")
    targets = checks.classes(targets, None, "targets", (len(images),))
    if ranks.ndim != 4 or ranks.shape[1:] != images.shape[:3]:
        raise InputError(
            f"the ranks are of shape {ranks.shape}, expected (methods, "
            f"{', '.join(map(str, images.shape[:3]))})"
        )
    height, width = images.shape[1:3]
    counts = counts_of(wanted, height, width)

    def job_of(method: int, each: Perturbation) -> tuple[int, int, int, int] | None:
        """Return which method, what the last rank is, whether it stays, the fill."""
        count = num_masked(each.fraction, height, width)
        stays = each.order == "retention"
        if count == (height * width if stays else 0):
            return None  # nothing is filled
        if count in (0, height * width):
            return 0, 255, 0, names.index(each.fill)  # all is
        return method, counts.index(count), int(stays), names.index(each.fill)

    jobs = [job_of(method, each) for method in range(len(ranks)) for each in wanted]
    distinct = [job for job in dict.fromkeys(jobs) if job]
    fills = [FILLS[name] for name in names]

    def run(job: Array) -> Outcome:
        method, last_rank, stays, fill = job
        keep = (ranks[method] <= last_rank) == (stays == 1)
        return answer(jax.lax.switch(fill, fills, images, keep, keys), targets)

    rows = jax.tree.map(lambda row: row[None], intact)
    if distinct:
        scored = jax.lax.map(run, jnp.array(distinct, jnp.int32))
        rows = jax.tree.map(lambda *each: jnp.concatenate(each), scored, rows)
    places = np.array([distinct.index(job) if job else len(distinct) for job in jobs])
    shape = (len(ranks), len(wanted), -1)
    return jax.tree.map(lambda row: row[places].reshape(shape), rows)
