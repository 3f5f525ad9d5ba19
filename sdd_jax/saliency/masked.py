"""What many masked images score, in memory that does not grow with their number.

A mask is float [batch, height, width], one for each image: 1 where the image is kept, 0
where it is the baseline's colour, and what is between is mixed and rounded to uint8.
Masks are never all there: `mask_of(number)` makes the masks of one number, from 0 on,
and a block of numbers is made, scored and used up before the next.

The same body serves every block, so nothing depends on how many there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, UInt8

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass

MaskOf = Callable[[Array], Array]  # int32 [] -> float [batch, height, width]

# Fields of `Scores`: the logit, the probability, its logarithm.
SCORES = ("value", "confidence", "log_confidence")


def _colour(value: int) -> Callable[[Array], Array]:
    return lambda images: jnp.full((len(images), 1, 1, 3), value, jnp.float32)


def _mean(images: Array) -> Array:
    return images.astype(jnp.float32).mean((1, 2), keepdims=True)


# Each is images -> float32 [batch, 1, 1, 3], grey levels.
BASELINES: dict[str, Callable[[Array], Array]] = {
    "black": _colour(0),
    "grey": _colour(128),
    "mean": _mean,  # the image's own mean colour
}


def mixed(
    images: UInt8[Array, "batch height width 3"],
    masks: Float[Array, "*blocks batch height width"],
    baseline: str,
) -> UInt8[Array, "*blocks batch height width 3"]:
    """Return mask * image + (1 - mask) * baseline, to the nearest whole number."""
    colour = BASELINES[baseline](images)
    distance = images.astype(jnp.float32) - colour
    pixels = colour + masks[..., None] * distance
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def require_options(*, score: str, baseline: str, num_masks: int, block: int) -> None:
    """Raise InputError where a name is not known or a number makes no sense."""
    checks.require_names((score,), dict.fromkeys(SCORES), "score")
    checks.require_names((baseline,), BASELINES, "baseline")
    checks.require(num_masks, checks.whole(1), "num_masks")
    checks.require(block, checks.whole(1), "block")


def intact_score(clean: CleanPass, score: str) -> Float[Array, " batch"]:
    """Return what the targets score on the intact images, from the clean pass.

    Raises:
        InputError: there is no score of that name.
    """
    checks.require_names((score,), dict.fromkeys(SCORES), "score")
    return getattr(clean.scores, score)


def _score_block(
    model: FaceClassifier,
    clean: CleanPass,
    masks: Float[Array, "block batch height width"],
    score: str,
    baseline: str,
) -> Float[Array, "block batch"]:
    images = mixed(clean.images, masks, baseline)
    feature_maps = model.feature_maps(images.reshape(-1, *images.shape[2:]))
    targets = jnp.tile(clean.targets, len(masks))
    scores = model.scores(feature_maps, targets)
    return getattr(scores, score).reshape(masks.shape[:2])


def masked_scores(
    model: FaceClassifier,
    clean: CleanPass,
    mask_of: MaskOf,
    num_masks: int,
    *,
    score: str = "confidence",
    baseline: str = "black",
    block: int = 1,
) -> Float[Array, "masks batch"]:
    """Return what the targets score under each mask.

    Args:
        model: the classifier.
        clean: its clean pass.
        mask_of: a mask's number -> the mask, for each image.
        num_masks: how many.
        score: a name in SCORES.
        baseline: a name in BASELINES, what stands where nothing is kept.
        block: how many masks are scored at a time, for all images of the batch.

    Raises:
        InputError: a name is not known, or a number is below 1.
    """
    require_options(score=score, baseline=baseline, num_masks=num_masks, block=block)

    def run(first: Array) -> Array:
        masks = jax.vmap(mask_of)(_numbers(first, block, num_masks))
        return _score_block(model, clean, masks, score, baseline)

    scores = jax.lax.map(run, block * jnp.arange(-(-num_masks // block)))
    return scores.reshape(-1, scores.shape[-1])[:num_masks]


def sum_over_masks(
    model: FaceClassifier,
    clean: CleanPass,
    mask_of: MaskOf,
    num_masks: int,
    *,
    term: Callable[[Array, Array, Array], Any],
    score: str = "confidence",
    baseline: str = "black",
    block: int = 1,
) -> Any:
    """Return the sum of `term(number, mask, scores)` over all masks.

    Memory is that of one block, however many masks there are.

    Args:
        model: the classifier.
        clean: its clean pass.
        mask_of: a mask's number -> the mask, for each image.
        num_masks: how many.
        term: (int32 [], float [batch, height, width], float32 [batch]) -> float arrays,
            in any tree.
        score: as for `masked_scores`.
        baseline: likewise.
        block: likewise.

    Raises:
        InputError: a name is not known, or a number is below 1.
    """
    require_options(score=score, baseline=baseline, num_masks=num_masks, block=block)

    def add(place: Array, total: Any) -> Any:
        first = place * block
        numbers = _numbers(first, block, num_masks)
        masks = jax.vmap(mask_of)(numbers)
        scores = _score_block(model, clean, masks, score, baseline)
        terms = jax.vmap(term)(numbers, masks, scores)
        # What makes up the last block counts nothing.
        counts = first + jnp.arange(block) < num_masks

        def summed(total: Array, term: Array) -> Array:
            return total + jnp.where(
                counts.reshape(-1, *[1] * total.ndim), term, 0
            ).sum(0)

        return jax.tree.map(summed, total, terms)

    number = jax.ShapeDtypeStruct((), jnp.int32)
    mask = jax.eval_shape(mask_of, number)
    one_score = jax.ShapeDtypeStruct(mask.shape[:1], jnp.float32)
    shapes = jax.eval_shape(term, number, mask, one_score)
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.fori_loop(0, -(-num_masks // block), add, zeros)


def _numbers(first: Array, block: int, num_masks: int) -> Int[Array, " block"]:
    return jnp.minimum(first + jnp.arange(block, dtype=jnp.int32), num_masks - 1)
