"""What a network answers where a known mark is, is not, or is somebody else's.

And how much of its maps lies on the mark. One number an image and version.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdd_jax import saliency, sharding
from sdd_jax.faithfulness import ground_truth
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.images import pipeline
from sdd_jax.images.sources.shortcut import Version
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch

METHODS = ("cam", "sdd", "fine_sdd")
Rows = dict[str, np.ndarray]


def answers(
    model: FaceClassifier,
    versions: Mapping[str, Version],
    *,
    batch_size: int,
    methods: tuple[str, ...] = METHODS,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Rows]:
    """Return what the network says of each version's images, all in one program.

    By version: `labels` and `bearers` (whose mark it is; -1 of nobody), int32;
    `prediction`, int32; `confidence`, float32, the label's; for each method
    `energy_METHOD`, float32, how much of the positive part of the predicted class's
    map lies on the mark; `mark`, float32, how much of the image does. [images].

    Args:
        model: the classifier.
        versions: by name, from `shortcut.evidence`.
        batch_size: images a batch.
        methods: names in `saliency.METHODS`.
        options: theirs; a config's saliency section.
    """
    found = bind_methods(methods, dict(options or {}))
    graphdef, arrays = split_model(model)

    def one_batch(inputs: Any, batch: Batch) -> dict[str, Array]:
        arrays, masks = inputs
        model = join_model(graphdef, arrays)
        mask = masks[jnp.minimum(batch.indices, len(masks) - 1)]
        clean = saliency.clean_pass(model, batch.images, stages=True)
        of_labels = model.scores(clean.feature_maps, batch.labels)
        keys, _ = method_keys(0, batch.indices)
        energies = {
            f"energy_{name}": ground_truth.energy_inside(
                method(model, clean, keys).saliency, mask
            )
            for name, method in found.items()
        }
        return {
            "prediction": of_labels.decision,
            "confidence": of_labels.confidence,
            "mark": ground_truth.random_value(mask),
            **energies,
        }

    whole = pipeline.joined([version.images for version in versions.values()])
    masks = np.stack([whole.region(place) for place in range(len(whole))])
    inputs = arrays, sharding.replicate(masks)
    rows = over_split(one_batch, inputs, whole, batch_size=batch_size)
    rows = by_image(rows, len(whole)) | {
        "labels": whole.labels,
        "bearers": np.concatenate([version.bearers for version in versions.values()]),
    }
    ends = np.cumsum([len(version.images) for version in versions.values()])[:-1]
    parts = {name: np.split(row, ends) for name, row in rows.items()}
    return {
        version: {name: part[place] for name, part in parts.items()}
        for place, version in enumerate(versions)
    }
