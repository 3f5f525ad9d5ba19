"""One batch: clean pass -> explanations -> masked scores -> per-sample metrics.

One pure function for `explain`, `evaluate` and whoever has a model and images; who
calls it jits it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sdd_jax import keys, saliency
from sdd_jax.faithfulness import metrics
from sdd_jax.faithfulness.masking import check_fills, masked_predictions
from sdd_jax.faithfulness.masks import most_salient
from sdd_jax.types import Batch, Explanation


def study(
    model: Any,
    batch: Batch,
    *,
    methods: Mapping[str, Callable[..., Explanation]],
    fills: tuple[str, ...],
    fraction: float,
    seed: int,
) -> dict[str, Any]:
    """Return the predictions, their explanations, and what masking does to them.

    The class predicted on the intact image is the one explained.

    Args:
        model: the classifier.
        batch: images, and indices, from which all randomness is drawn.
        methods: from `saliency.bind_methods`.
        fills: names of fills.
        fraction: the share of pixels that is masked.
        seed: of random maps and of ties.

    Returns:
        prediction, confidence: [batch]; maps, salient and details, by method;
        masked_confidence, masked_prediction and each of effects: [methods, fills,
        schemes, batch].
    """
    check_fills(fills)
    clean = saliency.clean_pass(model, batch.images)
    drawn, ties = jax.random.split(jax.random.key(seed))
    drawn, ties = (keys.for_indices(key, batch.indices) for key in (drawn, ties))
    explanations = {
        name: method(model, clean, drawn) for name, method in methods.items()
    }
    salient = {
        name: most_salient(explanation.saliency, ties, fraction=fraction)
        for name, explanation in explanations.items()
    }

    def answer(images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = model.scores(model.feature_maps(images), targets)
        return scores.confidence, scores.decision

    masked_confidence, masked_prediction = masked_predictions(
        answer,
        batch.images,
        jnp.stack(list(salient.values())),
        clean.targets,
        fills=fills,
    )
    return {
        "prediction": clean.targets,
        "confidence": clean.scores.confidence,
        "maps": {name: each.saliency for name, each in explanations.items()},
        "details": {name: each.details for name, each in explanations.items()},
        "salient": salient,
        "masked_confidence": masked_confidence,
        "masked_prediction": masked_prediction,
        "effects": metrics.effects(
            clean.scores.confidence,
            masked_confidence,
            clean.targets,
            masked_prediction,
        ),
    }
