"""Kernel SHAP: the superpixels' Shapley values, by a weighted linear regression."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks, keys
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.masked import intact_score, masked_scores, sum_over_masks
from sdd_jax.saliency.superpixels import spread, superpixels
from sdd_jax.types import Explanation

# Added to the diagonal of a matrix whose own is a half, so that too few samples give a
# small answer and no NaN.
_RIDGE = 1e-6

Coalitions = Callable[[Array], tuple[Array, Array]]


def every_coalition(batch: int, players: int) -> tuple[Coalitions, int]:
    """Return all coalitions but none and all, with the Shapley kernel's weights.

    The first is a function of a number: the players that are in, float32 [batch,
    players], and the weight, float32 [batch], which is 1 / (C(players, size) size
    (players - size)) but for a factor. The second is how many there are.
    """
    weights = [
        players / (math.comb(players, size) * size * (players - size))
        for size in range(1, players)
    ]
    by_size = jnp.asarray([0, *weights, 0], jnp.float32)

    def coalition(number: Array) -> tuple[Array, Array]:
        players_in = (number + 1) >> jnp.arange(players) & 1
        weight = by_size[players_in.sum()]
        kept = jnp.broadcast_to(players_in.astype(jnp.float32), (batch, players))
        return kept, jnp.broadcast_to(weight, (batch,))

    return coalition, 2**players - 2


def paired_coalitions(image_keys: Key[Array, " batch"], players: int) -> Coalitions:
    """Return random coalitions, drawn as the Shapley kernel weighs them.

    Of two that follow each other, the second has the players that are not in the first.
    All weigh the same. An image's coalitions are drawn with its own key.
    """
    inner = np.arange(1, players)
    chances = jnp.asarray(-np.log(inner * (players - inner)), jnp.float32)

    def draw(key: Array, pair: Array) -> Array:
        for_size, for_places = jax.random.split(jax.random.fold_in(key, pair))
        size = 1 + jax.random.categorical(for_size, chances)
        return jax.random.permutation(for_places, players) < size

    def coalition(number: Array) -> tuple[Array, Array]:
        first = jax.vmap(draw, in_axes=(0, None))(image_keys, number // 2)
        kept = (first ^ (number % 2 == 1)).astype(jnp.float32)
        return kept, jnp.ones(len(kept))

    return coalition


def constrained(
    products: Float[Array, "batch players players"],
    moments: Float[Array, "batch players"],
    total: Float[Array, " batch"],
) -> Float[Array, "batch players"]:
    """Return the least squares' solution among those whose sum is the total.

    Args:
        products: the mean of z z^T over the coalitions.
        moments: the mean of z (v(z) - v(none)).
        total: v(all) - v(none).
    """
    players = moments.shape[1]
    right = jnp.stack([moments, jnp.ones_like(moments)], axis=2)
    solved = jnp.linalg.solve(products + _RIDGE * jnp.eye(players), right)
    free, direction = solved[..., 0], solved[..., 1]
    missing = (total - free.sum(1)) / direction.sum(1)
    return free + missing[:, None] * direction


def kernel_shap(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_samples: int = 2048,
    cells: int = 7,
    segments: Any = None,
    score: str = "confidence",
    baseline: str = "mean",
    block: int = 1,
) -> Explanation:
    """Return each superpixel's Shapley value, at all of its pixels.

    A coalition is an image of which only its superpixels are kept, the rest is the
    baseline. The values' sum is the intact image's score less that of the baseline
    alone. Where there are no more coalitions than samples (10 superpixels have 1022),
    each is scored once, and the values are exact. Else they are drawn in pairs, an
    image's with its own key. The details are `values`, float32 [batch, superpixels].

    Args:
        model: the classifier.
        clean: its clean pass.
        key: of the coalitions.
        num_samples: how many coalitions, at most; several times the superpixels.
        cells: superpixels are a regular grid, with so many along each axis.
        segments: other superpixels; see `superpixels.superpixels`.
        score: the game's payment, a name in `masked.SCORES`.
        baseline: a name in `masked.BASELINES`.
        block: how many coalitions are scored at a time; see `masked.sum_over_masks`.

    Raises:
        InputError: a number makes no sense, a name is not known, segments are no
            superpixels, or there are fewer than two.

    References:
        Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NIPS
        2017, theorem 2. Pairs and the constrained solution: Covert and Lee, "Improving
        KernelSHAP: Practical Shapley Value Estimation Using Linear Regression",
        AISTATS 2021.
    """
    checks.require(num_samples, checks.whole(1), "num_samples")
    labels, players = superpixels(clean.images.shape, cells, segments)
    if players < 2:
        raise InputError(
            f"there is {players} superpixel, and a share of it all needs another: use "
            f"at least 2"
        )
    batch = len(clean.images)
    intact = intact_score(clean, score)
    nothing = masked_scores(
        model,
        clean,
        lambda number: jnp.zeros(clean.images.shape[:3]),
        1,
        score=score,
        baseline=baseline,
    )[0]
    if players < 31 and 2**players - 2 <= num_samples:
        coalition, number_of_them = every_coalition(batch, players)
    else:
        image_keys = keys.per_image(key, batch)
        coalition, number_of_them = paired_coalitions(image_keys, players), num_samples

    def term(number: Array, mask: Array, scores: Array) -> tuple[Array, ...]:
        kept, weight = coalition(number)
        weighted = weight[:, None] * kept
        products = weighted[:, :, None] * kept[:, None, :]
        return products, weighted * (scores - nothing)[:, None], weight

    products, moments, weights = sum_over_masks(
        model,
        clean,
        lambda number: spread(coalition(number)[0], labels),
        number_of_them,
        term=term,
        score=score,
        baseline=baseline,
        block=block,
    )
    values = constrained(
        products / weights[:, None, None],
        moments / weights[:, None],
        intact - nothing,
    )
    return Explanation(spread(values, labels), {"values": values})
