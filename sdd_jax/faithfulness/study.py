"""One batch: clean pass -> explanations -> ranks -> what perturbations do.

Pure functions for `explain`, `evaluate` and whoever has a model and images; who calls
them jits them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int, Key, UInt8

from sdd_jax import keys, saliency
from sdd_jax.faithfulness.perturbations import (
    Outcome,
    Perturbation,
    counts_of,
    perturbed_outcomes,
)
from sdd_jax.faithfulness.ranks import ranks
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import Batch, Explanation


def method_keys(
    seed: int, indices: Int[Array, " batch"]
) -> tuple[Key[Array, " batch"], Key[Array, " batch"]]:
    """Return each image's keys: what methods draw with, and what ties are broken with.

    Args:
        seed: of the study.
        indices: the images' places in their set.
    """
    drawn, ties = jax.random.split(jax.random.key(seed))
    return keys.for_indices(drawn, indices), keys.for_indices(ties, indices)


def study(
    model: Any,
    batch: Batch,
    *,
    methods: Mapping[str, Callable[..., Explanation]],
    wanted: tuple[Perturbation, ...],
    seed: int,
) -> dict[str, Any]:
    """Return the predictions, their explanations, and what perturbations do to them.

    Args:
        model: the classifier.
        batch: images, and indices, from which all randomness is drawn.
        methods: from `saliency.bind_methods`.
        wanted: the perturbations.
        seed: of random maps, of ties and of fills that draw.

    Returns:
        intact, an `Outcome` of [batch]; explanations, by method; ranks, uint8 [methods,
        batch, height, width]; perturbed, an `Outcome` of [methods, perturbations,
        batch].
    """
    out = explained(model, batch, methods=methods, wanted=wanted, seed=seed)
    stacked = jnp.stack(list(out["ranks"].values()))
    perturbed = tested(
        model,
        batch.images,
        batch.indices,
        out["intact"],
        stacked,
        wanted=wanted,
        seed=seed,
    )
    return out | {"ranks": stacked, "perturbed": perturbed}


def explained(
    model: Any,
    batch: Batch,
    *,
    methods: Mapping[str, Callable[..., Explanation]],
    wanted: tuple[Perturbation, ...],
    seed: int,
) -> dict[str, Any]:
    """Return the first half of `study`, from one clean pass; ranks by method.

    The class predicted on the intact image is the one explained.
    """
    stages = not USES_STAGES.isdisjoint(methods)
    clean = saliency.clean_pass(model, batch.images, stages=stages)
    drawn, ties = method_keys(seed, batch.indices)
    explanations = {
        name: method(model, clean, drawn) for name, method in methods.items()
    }
    counts = counts_of(wanted, *batch.images.shape[1:3])

    def rank(saliency: Array) -> Array:
        return ranks(saliency, ties, counts=counts)

    # One body for all methods: of many, compiling would take longer than ranking.
    maps = jnp.stack([each.saliency for each in explanations.values()])
    ranked = jax.lax.map(rank, maps)
    return {
        "intact": Outcome(clean.scores.confidence, clean.targets),
        "explanations": explanations,
        "ranks": dict(zip(explanations, ranked, strict=True)),
    }


def tested(
    model: Any,
    images: UInt8[Array, "batch height width 3"],
    indices: Int[Array, " batch"],
    intact: Outcome,
    ranked: UInt8[Array, "methods batch height width"],
    *,
    wanted: tuple[Perturbation, ...],
    seed: int,
) -> Outcome:
    """Return the second half of `study`: the outcomes of the perturbed images."""

    def answer(images: Array, targets: Array) -> Outcome:
        scores = model.scores(model.feature_maps(images), targets)
        return Outcome(scores.confidence, scores.decision)

    # Not one of the keys that `explained` draws from.
    key = jax.random.fold_in(jax.random.key(seed), 2)
    return perturbed_outcomes(
        answer,
        images,
        ranked,
        intact.decision,
        keys.for_indices(key, indices),
        intact=intact,
        wanted=wanted,
    )
