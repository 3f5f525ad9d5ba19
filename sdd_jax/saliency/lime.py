"""LIME: a linear model of which superpixels the target's score is made of."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks, keys
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.masked import sum_over_masks
from sdd_jax.saliency.superpixels import spread, superpixels
from sdd_jax.types import Explanation

POSITIVE = checks.real(0, above=True)


def random_subsets(
    image_keys: Key[Array, " batch"], number: Array, num_superpixels: int
) -> Float[Array, "batch superpixels"]:
    """Return 1 for what is kept: all for number 0, then each with a chance of a half.

    An image's subsets are drawn with its own key.
    """

    def draw(key: Array) -> Array:
        own = jax.random.fold_in(key, number)
        return jax.random.bernoulli(own, 0.5, (num_superpixels,))

    return jnp.where(number == 0, True, jax.vmap(draw)(image_keys)).astype(jnp.float32)


def nearness(
    kept: Float[Array, "batch superpixels"], kernel_width: float
) -> Float[Array, " batch"]:
    """Return exp(-d^2 / (2 width^2)), d the cosine distance to what keeps all."""
    distance = 1 - jnp.sqrt(kept.mean(1))
    return jnp.exp(-(distance**2) / (2 * kernel_width**2))


def lime(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_samples: int = 1000,
    cells: int = 7,
    segments: Any = None,
    kernel_width: float = 0.25,
    penalty: float = 1.0,
    score: str = "confidence",
    baseline: str = "mean",
    block: int = 1,
) -> Explanation:
    """Return the superpixels' coefficients in a weighted ridge regression.

    The regression is of the target's score on which superpixels are kept; its intercept
    is free. Samples weigh by their nearness to the intact image, which is one of them.
    An image's samples are drawn with its own key. The details are `coefficients`,
    float32 [batch, superpixels].

    Numbers of samples, kernel and its width, and penalty are those of the authors'
    program. It finds superpixels by quickshift and covers each with its own mean
    colour; here they are a regular grid by default, and all are covered with the
    image's mean colour. No superpixels are selected: all have a coefficient.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: of the samples.
        num_samples: the intact image and random ones.
        cells: of the grid, along each axis.
        segments: other superpixels; see `superpixels.superpixels`.
        kernel_width: of the samples' weights, a cosine distance.
        penalty: of the sum of the squared coefficients.
        score: what is explained, a name in `masked.SCORES`.
        baseline: what covers, a name in `masked.BASELINES`.
        block: how many samples are scored at a time; see `masked.sum_over_masks`.

    Raises:
        InputError: a number makes no sense, a name is not known, or segments are no
            superpixels.

    References:
        Ribeiro, Singh and Guestrin, "'Why Should I Trust You?': Explaining the
        Predictions of Any Classifier", KDD 2016, equation 2 and algorithm 1.
    """
    checks.require(num_samples, checks.whole(1), "num_samples")
    checks.require(kernel_width, POSITIVE, "kernel_width")
    checks.require(penalty, POSITIVE, "penalty")
    labels, number_of_them = superpixels(clean.images.shape, cells, segments)
    image_keys = keys.per_image(key, len(clean.images))

    def kept_of(number: Array) -> Array:
        return random_subsets(image_keys, number, number_of_them)

    def term(number: Array, mask: Array, scores: Array) -> tuple[Array, Array]:
        kept = kept_of(number)
        inputs = jnp.pad(kept, ((0, 0), (0, 1)), constant_values=1)  # and the intercept
        weighted = nearness(kept, kernel_width)[:, None] * inputs
        return weighted[:, :, None] * inputs[:, None, :], weighted * scores[:, None]

    products, moments = sum_over_masks(
        model,
        clean,
        lambda number: spread(kept_of(number), labels),
        num_samples,
        term=term,
        score=score,
        baseline=baseline,
        block=block,
    )
    penalties = penalty * jnp.eye(number_of_them + 1).at[-1, -1].set(0)
    solution = jnp.linalg.solve(products + penalties, moments[..., None])
    coefficients = solution[:, :-1, 0]
    return Explanation(spread(coefficients, labels), {"coefficients": coefficients})
