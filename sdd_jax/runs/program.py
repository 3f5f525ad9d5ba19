"""The program that explains pictures and proves the explanations.

One pure function for both `explain` and `evaluate`; each jits what it needs of it. All
methods call the model on the same pictures, and XLA merges equal calls: there is one
clean forward pass, however many methods are compared.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdd_jax import keys, saliency
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import (
    check_fills,
    masked_predictions,
    metrics,
    most_salient,
)
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.sdd import compared_classes, explain
from sdd_jax.types import Batch


def bind_methods(
    names: tuple[str, ...], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the named methods with their hyper-parameters bound.

    Raises:
        InputError: a name is not known or stands twice, or there is none.
    """
    if isinstance(names, str):
        raise InputError(f"the methods are {names!r}, one text: expected ({names!r},)")
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"the methods are {', '.join(names) or 'none'}: expected at least one, "
            f"each once"
        )
    for name in names:
        if name not in saliency.METHODS:
            raise InputError(
                f"unknown method {name!r}: expected one of "
                f"{', '.join(saliency.METHODS)}"
            )
    return {
        name: functools.partial(saliency.METHODS[name], **options.get(name, {}))
        for name in names
    }


def explain_and_mask(
    model: FaceClassifier,
    batch: Batch,
    *,
    methods: Mapping[str, Any],
    sdd_options: Mapping[str, Any],
    fills: tuple[str, ...],
    fraction: float,
    seed: int,
) -> dict[str, Any]:
    """Return the predictions, their explanations, and what masking does to them.

    The class predicted on the intact picture is the one explained. Rivals are asked for
    where "sdd" is among the methods, and only there is an "explanation" returned.

    Args:
        model: the classifier.
        batch: pictures, and indices, from which all randomness is drawn.
        methods: from `bind_methods`.
        sdd_options: hyper-parameters of the explanation that is returned.
        fills: names of fills.
        fraction: the share of pixels that is masked.
        seed: of random maps and of ties.
    """
    check_fills(fills)

    feature_maps = model.feature_maps(batch.images)
    if "sdd" in methods:
        # Asked for as `explain` does, so that XLA merges the two.
        count = {k: v for k, v in sdd_options.items() if k == "num_classes_compared"}
        ranking = compared_classes(model, feature_maps, **count)
    else:
        ranking = model.ranking(feature_maps)
    prediction, confidence = ranking.classes[:, 0], ranking.probabilities[:, 0]
    drawn, ties = jax.random.split(jax.random.key(seed))
    drawn, ties = (keys.for_indices(key, batch.indices) for key in (drawn, ties))
    maps = {
        name: method(model, batch.images, prediction, drawn)
        for name, method in methods.items()
    }
    salient = jnp.stack(
        [most_salient(values, ties, fraction=fraction) for values in maps.values()]
    )

    def answer(images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        ranking = model.ranking(model.feature_maps(images), targets)
        return ranking.target_probabilities, ranking.classes[:, 0]

    masked_confidence, masked_prediction = masked_predictions(
        answer, batch.images, salient, prediction, fills=fills
    )
    explanation = {}
    if "sdd" in methods:
        explained = explain(model, batch.images, prediction, **sdd_options)
        explanation = {"explanation": explained}
    return explanation | {
        "prediction": prediction,
        "confidence": confidence,
        "maps": maps,
        "salient": dict(zip(maps, salient, strict=True)),
        "masked_confidence": masked_confidence,
        "masked_prediction": masked_prediction,
        "effects": metrics.effects(
            confidence, masked_confidence, prediction, masked_prediction
        ),
    }


def split_model(model: FaceClassifier) -> tuple[nnx.GraphDef, Any]:
    """Return a model as its structure and its arrays, to pass through `jax.jit`."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def join_model(graphdef: nnx.GraphDef, arrays: Any) -> FaceClassifier:
    """Undo `split_model`."""
    return nnx.merge(graphdef, nnx.State(arrays))
