"""Deletion and retention: score each picture again with part of it hidden.

deletion = the most salient fraction is removed; retention = only it is kept.
Knows arrays and an `answer` callable, never a model.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.faithfulness.masks import FILLS, apply

SCHEMES = ("deletion", "retention")


def check_fills(fills: Sequence[str]) -> None:
    """Raise InputError where a name is not known or stands twice, or there is none."""
    checks.require_names(fills, FILLS, "fill")


def masked_predictions(
    answer: Callable[[Array, Array], tuple[Array, Array]],
    images: UInt8[Array, "batch height width 3"],
    salient: Bool[Array, "methods batch height width"],
    targets: Int[Array, " batch"],
    *,
    fills: Sequence[str],
) -> tuple[
    Float[Array, "methods fills schemes batch"],
    Int[Array, "methods fills schemes batch"],
]:
    """Return the targets' confidence and the predicted class under every mask.

    One program body serves all methods, fills and schemes: it is compiled once, and its
    memory is one batch's.

    Args:
        answer: pictures, targets -> the targets' softmax probabilities and the
            predicted classes, [batch] each.
        images: RGB.
        salient: each method's most salient pixels.
        targets: the class predicted on the intact picture.
        fills: names in `FILLS`.

    Raises:
        InputError: a fill is not known, a target is below 0, or targets or masks are
            not one for each picture.
    """
    check_fills(fills)
    targets = checks.classes(targets, None, "targets", (len(images),))
    if salient.ndim != 4 or salient.shape[1:] != images.shape[:3]:
        raise InputError(
            f"the masks are of shape {salient.shape}, expected (methods, "
            f"{', '.join(map(str, images.shape[:3]))})"
        )
    if salient.dtype != bool:
        raise InputError(
            f"the masks are {salient.dtype}, expected bool: take `most_salient`'s"
        )
    colours = jnp.stack([FILLS[name](images) for name in fills])
    sizes = (len(salient), len(fills), len(SCHEMES))
    jobs = jnp.unravel_index(jnp.arange(sizes[0] * sizes[1] * sizes[2]), sizes)

    def run(job: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        method, fill, is_retention = job
        mask = salient[method] == (is_retention == 1)
        return answer(apply(images, mask, colours[fill]), targets)

    confidence, prediction = jax.lax.map(run, jobs)
    return confidence.reshape(*sizes, -1), prediction.reshape(*sizes, -1)
