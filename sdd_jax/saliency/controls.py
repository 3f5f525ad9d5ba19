"""Controls: maps that say what of an explanation has to do with whose face it is."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key, Num

from sdd_jax import checks, keys
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation

_DRAW = 2**31  # no number that a method makes of an image's key


def wrong_classes(
    targets: Int[Array, " batch"], image_keys: Key[Array, " batch"], num_classes: int
) -> Int[Array, " batch"]:
    """Return a random class for each image, any but its target with equal chances.

    A target that is no class stays as it is.

    Raises:
        InputError: there is only one class.
    """
    if num_classes < 2:
        raise InputError(
            f"there is {num_classes} class, and a wrong one needs another: use a model "
            f"of at least 2"
        )

    def draw(key: Array) -> Array:
        own = jax.random.fold_in(key, jnp.uint32(_DRAW))
        return jax.random.randint(own, (), 1, num_classes)

    other = (targets + jax.vmap(draw)(image_keys)) % num_classes
    return jnp.where(checks.are_classes(targets, num_classes), other, targets)


def explaining(
    model: FaceClassifier, clean: CleanPass, targets: Int[Array, " batch"]
) -> CleanPass:
    """Return the clean pass of the same images for other targets."""
    num_top = clean.ranking.classes.shape[1]
    ranking = model.ranking(clean.feature_maps, targets, num_top=num_top)
    return dataclasses.replace(clean, targets=targets, ranking=ranking)


def of_wrong_class(method: Callable[..., Explanation]) -> Callable[..., Explanation]:
    """Return the method that explains a random other class, by the same means.

    Images, feature maps, the method's own key and its options stay. The details are the
    method's, and `wrong_class`, int32 [batch]: the class that is explained.

    Args:
        method: as in METHODS, bound or not.
    """

    def explain(
        model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."], **options: Any
    ) -> Explanation:
        image_keys = keys.per_image(key, len(clean.images))
        wrong = wrong_classes(clean.targets, image_keys, model.num_classes)
        of_wrong = explaining(model, clean, wrong)
        explanation = method(model, of_wrong, key, **options)
        details = explanation.details | {"wrong_class": wrong}
        return Explanation(explanation.saliency, details)

    return explain


def mean_map(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    sums: Float[Array, "classes height width"],
    counts: Num[Array, " classes"],
) -> Explanation:
    """Return the mean map of the images of other people: it knows only faces.

    A method that is no better shows where faces matter, not what is this person's. It
    is 0 where nobody else has a map.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        sums: the sum of the maps of all images of each predicted class.
        counts: how many those were.
    """
    others = counts.sum() - counts[clean.targets]
    rest = sums.sum(0) - sums[clean.targets]
    mean = rest / jnp.maximum(others, 1)[:, None, None]
    is_class = checks.are_classes(clean.targets, len(sums))[:, None, None]
    return Explanation(jnp.where(is_class, mean, jnp.nan).astype(jnp.float32))
