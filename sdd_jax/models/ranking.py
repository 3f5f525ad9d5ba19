"""Logits -> the likeliest classes and the softmax's normaliser, a block at a time.

With a million classes, all logits of a batch are much larger than what is asked of
them: the first few, and how probable they are. Only one block's logits exist at a time.
Everything is float32; equal logits keep the classes' order.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from sdd_jax.types import Ranking

BLOCK = 16384  # classes; fewer are one product and one softmax

_GROUP = 128  # classes, of which `largest` first looks at the maximum alone

# Of what must not count. Not minus infinity: a difference of two of those is no number.
LOWEST = float(jnp.finfo(jnp.float32).min)


def largest(
    logits: Float[Array, "batch classes"], num_top: int
) -> tuple[Float[Array, "batch num_top"], Int[Array, "batch num_top"]]:
    """Return what `lax.top_k` does, without sorting all classes.

    Inside of a larger program XLA's compiler for CPUs may sort them all, fifty times as
    slow as everything else here. The `num_top` groups with the largest maxima hold the
    `num_top` largest logits, and of equal ones those that come first.
    """
    batch, num_classes = logits.shape
    if num_classes <= _GROUP * num_top:
        top, classes = lax.top_k(logits, num_top)
        return top, classes
    missing = -num_classes % _GROUP
    padded = jnp.pad(logits, ((0, 0), (0, missing)), constant_values=LOWEST)
    groups = padded.reshape(batch, -1, _GROUP)
    _, places = lax.top_k(groups.max(2), num_top)
    places = jnp.sort(places, axis=1)  # in the classes' order
    chosen = jnp.take_along_axis(groups, places[:, :, None], axis=1)
    top, at = lax.top_k(chosen.reshape(batch, -1), num_top)
    first = jnp.take_along_axis(places, at // _GROUP, axis=1) * _GROUP
    return top, first + at % _GROUP


def rank_logits(
    logits: Float[Array, "batch classes"],
    targets: Int[Array, " batch"] | None = None,
    *,
    num_top: int = 1,
) -> Ranking:
    """Return the ranking of logits that are all there.

    Args:
        logits: one a class.
        targets: classes whose logits are asked for as well; one that is not among
            the classes has the lowest there is.
        num_top: how many of the likeliest classes; no more than there are.
    """
    num_classes = logits.shape[1]
    top, classes = largest(logits, min(num_top, num_classes))
    normaliser = jnp.exp(logits - top[:, :1]).sum(1)
    target_logits = None
    if targets is not None:
        places = jnp.clip(targets, 0, num_classes - 1)
        found = jnp.take_along_axis(logits, places[:, None], axis=1)[:, 0]
        target_logits = jnp.where(places == targets, found, LOWEST)
    return Ranking(classes, top, normaliser, target_logits)


def merge(parts: Ranking, *, num_top: int) -> Ranking:
    """Return one ranking of all classes.

    Args:
        parts: rankings of different classes, stacked along a new first axis in the
            order of their classes.
        num_top: how many of the likeliest classes; no more than the parts have.
    """
    side_by_side = functools.partial(jnp.concatenate, axis=1)
    logits, places = lax.top_k(side_by_side(parts.logits), num_top)
    classes = jnp.take_along_axis(side_by_side(parts.classes), places, axis=1)
    share = jnp.exp(parts.logits[:, :, 0] - logits[:, 0])
    target_logits = parts.target_logits
    if target_logits is not None:
        target_logits = target_logits.max(0)
    return Ranking(classes, logits, (share * parts.normaliser).sum(0), target_logits)


def rank(
    features: Float[Array, "batch features"],
    kernel: Float[Array, "features classes"],
    offset: Float[Array, " classes"],
    targets: Int[Array, " batch"] | None = None,
    *,
    num_top: int = 1,
    block: int = BLOCK,
) -> Ranking:
    """Return the ranking of a linear layer's logits, `block` classes at a time.

    Args:
        features: what the layer takes.
        kernel: its weights; never copied as a whole.
        offset: its offsets.
        targets: as in `rank_logits`.
        num_top: as in `rank_logits`.
        block: the number of classes whose logits exist at a time.

    References:
        Milakov and Gimelshein, "Online normalizer calculation for softmax",
        arXiv:1805.02867, 2018.
    """
    num_classes = kernel.shape[1]
    num_top = min(num_top, num_classes)
    block = min(max(block, num_top), num_classes)

    def rank_block(index: int | Array) -> Ranking:
        # The last block is as long as the others: it begins earlier, and what was
        # seen before does not count again.
        unseen = index * block
        start = jnp.minimum(unseen, num_classes - block)
        logits = jnp.dot(
            features,
            lax.dynamic_slice_in_dim(kernel, start, block, axis=1),
            precision="highest",
        ) + lax.dynamic_slice_in_dim(offset, start, block)
        logits = jnp.where(start + jnp.arange(block) < unseen, LOWEST, logits)
        ranking = rank_logits(
            logits, None if targets is None else targets - start, num_top=num_top
        )
        return dataclasses.replace(ranking, classes=start + ranking.classes)

    def add(index: Array, seen: Ranking) -> Ranking:
        both = jax.tree.map(lambda *x: jnp.stack(x), seen, rank_block(index))
        return merge(both, num_top=num_top)

    num_blocks = -(-num_classes // block)
    first = rank_block(0)
    return first if num_blocks == 1 else lax.fori_loop(1, num_blocks, add, first)
