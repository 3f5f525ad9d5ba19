"""Scaled directed divergence: what separates a person from the look-alikes."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.divergence import directed_exponent
from sdd_jax.types import Explanation, Ranking

FACTOR = checks.real(0, above=True)  # the paper's F and alpha


def compared_classes(
    model: FaceClassifier, clean: CleanPass, num_classes_compared: int
) -> Ranking:
    """Return the likeliest classes, from which `top_rivals` takes a target's rivals.

    The clean pass has them, but where more are asked for than it ranked. Fewer classes
    than asked for are all compared.

    Raises:
        InputError: there would be no rival.
    """
    if num_classes_compared not in checks.whole(2) or model.num_classes < 2:
        raise InputError(
            f"num_classes_compared is {num_classes_compared} among {model.num_classes} "
            f"classes, but a divergence needs a target and a rival: use at least 2"
        )
    number = min(num_classes_compared, model.num_classes)
    ranking = clean.ranking
    if number > ranking.classes.shape[1]:
        return model.ranking(clean.feature_maps, num_top=number)
    return dataclasses.replace(
        ranking, classes=ranking.classes[:, :number], logits=ranking.logits[:, :number]
    )


def top_rivals(
    ranking: Ranking, targets: Int[Array, " batch"]
) -> tuple[Int[Array, "batch rivals"], Float[Array, "batch rivals"]]:
    """Return the other classes among the likeliest, and their softmax probabilities.

    Where the target is not among them, all but the last: the number of rivals is the
    same for every image. The likeliest come first; equal logits keep the classes'
    order.
    """
    is_target = ranking.classes == targets[:, None]
    order = jnp.argsort(is_target, axis=1, stable=True)[:, :-1]
    return (
        jnp.take_along_axis(ranking.classes, order, axis=1),
        jnp.take_along_axis(ranking.probabilities, order, axis=1),
    )


def sdd(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_classes_compared: int = 5,
    centre: bool = True,
    scale: float | None = None,
    amplification: float | None = None,
    upsample_first: bool = False,
) -> Explanation:
    """Return the divergence at the images' resolution, its rivals, F and alpha.

    The details are `rivals`, int32 [batch, num_rivals], the likeliest first;
    `rival_probabilities`, float32 [batch, num_rivals]; `scale` and `amplification`,
    the paper's F and alpha, float32 [batch].

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_classes_compared: the target and its rivals together.
        centre: remove the mean class weight first; see `PooledHead.class_maps`.
        scale: the paper's F; adaptive where None.
        amplification: the paper's alpha; adaptive where None.
        upsample_first: take the exponential at the images' resolution, not on the
            network's own grid. It then changes no order of an image's pixels, and so
            alpha changes no mask.

    Raises:
        InputError: there would be no rival, or F or alpha is not above 0.
    """
    found, details = exponent(
        model,
        clean,
        num_classes_compared=num_classes_compared,
        centre=centre,
        scale=scale,
        amplification=amplification,
    )
    size = clean.images.shape[1:3]
    saliency = (
        jnp.exp(upsample(found, size, model.cells))
        if upsample_first
        else upsample(jnp.exp(found), size, model.cells)
    )
    return Explanation(saliency, details)


def exponent(
    model: FaceClassifier,
    clean: CleanPass,
    *,
    num_classes_compared: int = 5,
    centre: bool = True,
    scale: float | None = None,
    amplification: float | None = None,
) -> tuple[Float[Array, "batch rows columns"], dict[str, Array]]:
    """Return what `sdd` takes the exponential of, on the network's own grid.

    And its details; see `sdd` for them and for the arguments.
    """
    for name, value in (("scale", scale), ("amplification", amplification)):
        if value is not None:
            checks.require(value, FACTOR, name)
    ranking = compared_classes(model, clean, num_classes_compared)
    rivals, rival_probabilities = top_rivals(ranking, clean.targets)
    classes = jnp.concatenate([clean.targets[:, None], rivals], axis=1)
    maps = model.class_maps(clean.feature_maps, classes, centre=centre)

    def for_each(value: float | None) -> Array | None:
        return None if value is None else jnp.full(len(maps), value, maps.dtype)

    found, scales, amplifications = directed_exponent(
        maps[:, 0],
        maps[:, 1:],
        scale=for_each(scale),
        amplification=for_each(amplification),
    )
    return found, {
        "rivals": rivals,
        "rival_probabilities": rival_probabilities,
        "scale": scales,
        "amplification": amplifications,
    }
