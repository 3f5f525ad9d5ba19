"""Planted marks: what the network answers with and without them, and who finds them.

One number an image, each kept on disk by what it depends on.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdd_jax import saliency, sharding
from sdd_jax.faithfulness import ground_truth
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.images import pipeline
from sdd_jax.images.sources.planted import Plan, Planted
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import store
from sdd_jax.runs.method_maps import Method, class_sums
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.saliency import CleanPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import Batch, Explanation, ImageSet

VERSIONS = ("marked", "without", "swapped")
Rows = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The marked images of a split, and what measures on them need."""

    model: FaceClassifier
    images: Mapping[str, ImageSet]  # by version, of marked identities alone
    masks: np.ndarray  # bool [images, height, width], of the version "marked"
    twin_of: np.ndarray  # int32 [identities], the twin's label; one's own without any
    kinds: np.ndarray  # text [images]
    seed: int
    batch_size: int
    results: Path  # where finished results are
    facts: Mapping[str, Any]  # what they depend on besides

    @property
    def labels(self) -> np.ndarray:
        """Return whose images they are, int32 [images]."""
        return self.images["marked"].labels

    def answers(self) -> dict[str, Rows]:
        """Return what the network says of each version's images.

        By version: `prediction`, int32; `own` and `twin`, float32: the probabilities of
        the image's label and of its twin. [images].
        """
        graphdef, arrays = split_model(self.model)

        def one_batch(inputs: Any, batch: Batch) -> dict[str, Array]:
            arrays, twins = inputs
            model = join_model(graphdef, arrays)
            feature_maps = model.feature_maps(batch.images)
            own = model.scores(feature_maps, batch.labels)
            twin = model.scores(feature_maps, twins[batch.labels])
            return {
                "prediction": own.decision,
                "own": own.confidence,
                "twin": twin.confidence,
            }

        def compute() -> Rows:  # one program for all versions
            images = pipeline.joined([self.images[version] for version in VERSIONS])
            inputs = arrays, sharding.replicate(self.twin_of)
            return self._over_split(one_batch, inputs, images)

        found = store.kept(self.results, self._key("answers", "", None), compute)
        parts = {name: np.split(row, len(VERSIONS)) for name, row in found.items()}
        return {
            version: {name: part[place] for name, part in parts.items()}
            for place, version in enumerate(VERSIONS)
        }

    @property
    def twins(self) -> np.ndarray:
        """Return whose twin's images they are, int32 [images]."""
        return self.twin_of[self.labels]

    def found(self, name: str, method: Method, options: Any) -> Rows:
        """Return how well a method's maps of the predicted classes find the marks.

        `pointing_game`, `energy_inside`, `relevance_rank` and `random_value`, float32;
        `is_flat`, bool.
        """
        graphdef, arrays = split_model(self.model)
        stages = name in USES_STAGES

        def one_batch(inputs: Any, batch: Batch) -> dict[str, Array]:
            arrays, masks = inputs
            mask = masks[batch.indices]
            model = join_model(graphdef, arrays)
            clean = saliency.clean_pass(model, batch.images, stages=stages)
            drawn, ties = method_keys(self.seed, batch.indices)
            maps = method(model, clean, drawn).saliency
            flat = is_flat(maps)
            # A map that is no number anywhere is flagged, and ranks have no place for
            # it.
            maps = jnp.where(flat[:, None, None], 0, maps)
            return {
                "pointing_game": ground_truth.pointing_game(maps, mask, ties),
                "energy_inside": ground_truth.energy_inside(maps, mask),
                "relevance_rank": ground_truth.relevance_rank(maps, mask, ties),
                "random_value": ground_truth.random_value(mask),
                "is_flat": flat,
            }

        def compute() -> Rows:
            inputs = arrays, sharding.replicate(self.masks)
            return self._over_split(one_batch, inputs, self.images["marked"])

        return store.kept(self.results, self._key("found", name, options), compute)

    def class_sums(self, name: str, method: Method, options: Any) -> Rows:
        """Return what the mean map of other people is made from; see `class_sums`."""

        def compute() -> Rows:
            return class_sums(
                self.model,
                self.images["marked"],
                method,
                self.seed,
                batch_size=self.batch_size,
                stages=name in USES_STAGES,
            )

        return store.kept(self.results, self._key("sums", name, options), compute)

    def _over_split(self, one_batch: Any, inputs: Any, images: ImageSet) -> Rows:
        rows = over_split(one_batch, inputs, images, batch_size=self.batch_size)
        return by_image(rows, len(images))

    def _key(self, what: str, name: str, options: Any) -> dict[str, Any]:
        return {
            "planted": what,
            "name": name,
            "options": options,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "devices": [sharding.num_devices(), sharding.platform()],
            **self.facts,
        }


def evidence(
    model: FaceClassifier, planted: Planted, plan: Plan, **others: Any
) -> Evidence:
    """Return a split's marked images, read once, and what measures on them need.

    Args:
        model: the classifier.
        planted: the split in its versions.
        plan: who has which mark.
        others: the other fields of `Evidence`.
    """
    labels = planted.marked.labels
    places = [i for i, label in enumerate(labels) if int(label) in plan.marks]
    images = {
        version: pipeline.cached(pipeline.subset(getattr(planted, version), places))
        for version in VERSIONS
    }
    masks = np.stack([planted.mask(place) for place in places])
    own = [int(labels[place]) for place in places]
    twin_of = np.arange(len(planted.marked.names), dtype=np.int32)
    twin_of[list(plan.twins)] = list(plan.twins.values())
    others["facts"] = others["facts"] | {
        "masks": hashlib.sha256(masks.tobytes()).hexdigest(),
        "images": [pipeline.sha256(image_set) for image_set in images.values()],
        "labels": own,
    }
    return Evidence(
        model=model,
        images=images,
        masks=masks,
        twin_of=twin_of,
        kinds=np.array([plan.kinds[label] for label in own]),
        **others,
    )


def less_the_twin(twin_of: np.ndarray) -> Method:
    """Return, as a method, CAM less the twin's CAM: it is told what to compare with.

    Where the network's last features still lie where the mark is, it finds the mark.

    Args:
        twin_of: int32 [identities], the twin's label.
    """

    def method(model: FaceClassifier, clean: CleanPass, key: Array) -> Explanation:
        twins = jnp.asarray(twin_of)[clean.targets]
        classes = jnp.stack([clean.targets, twins], axis=1)
        maps = model.class_maps(clean.feature_maps, classes)
        difference = maps[:, 0] - maps[:, 1]
        return Explanation(upsample(difference, clean.images.shape[1:3], model.cells))

    return method
