"""A method's maps of a split: what they cost, and what is made of them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sdd_jax import saliency
from sdd_jax.faithfulness import Outcome
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import passes
from sdd_jax.runs.whole_split import Program, by_image, loop, over_split
from sdd_jax.saliency import CleanPass
from sdd_jax.saliency.controls import mean_map, wrong_classes
from sdd_jax.types import Batch, Explanation, ImageSet

Method = Callable[..., Explanation]

MEAN_MAP = "mean_map"  # the row of the mean map of other people's images


def forward_passes(
    model: FaceClassifier, method: Method, batch_size: int, *, stages: bool = False
) -> float:
    """Return what a method's maps cost, the clean pass with them; see `passes`.

    Where `stages` is true, the clean pass keeps them.
    """
    size = model.spec.size
    images = jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.uint8)
    # As arguments: on several devices, each part of the program must get its own part.
    graphdef, arrays = split_model(model)

    def forward(arrays: Any, images: Array) -> Array:
        return join_model(graphdef, arrays).feature_maps(images)

    def explain(arrays: Any, images: Array) -> Array:
        model = join_model(graphdef, arrays)
        clean = saliency.clean_pass(model, images, stages=stages)
        return method(model, clean, jax.random.key(0)).saliency

    once = passes.num_multiplications(forward, arrays, images)
    return passes.num_multiplications(explain, arrays, images) / once


def clean_program(graphdef: Any, *, seed: int, batch_size: int) -> Program:
    """Return: images -> what the network says of them, and wrong classes.

    For the host: the intact outcome. On the devices: that too, and for each image a
    class that it is not taken for.
    """

    def one_batch(arrays: Any, images: Array, places: Array) -> tuple[Any, Any]:
        model = join_model(graphdef, arrays)
        scores = saliency.clean_pass(model, images).scores
        drawn, _ = method_keys(seed, places)
        intact = Outcome(scores.confidence, scores.decision)
        wrong = wrong_classes(scores.decision, drawn, model.num_classes)
        return intact, (intact, wrong)

    return loop(one_batch, batch_size=batch_size)


def maps_program(
    graphdef: Any, method: Method, *, seed: int, batch_size: int, stages: bool
) -> Program:
    """Return: images and the classes to explain -> maps.

    For the host: which maps are flat. On the devices: the maps. Other images, classes
    and networks of the same structure are other data: it is compiled once.

    Args:
        graphdef: of the model.
        method: as `bind_methods` has it.
        seed: of what methods draw.
        batch_size: images a batch, over all devices.
        stages: the clean pass keeps them.
    """

    def one_batch(arrays: Any, data: Any, places: Array) -> tuple[Array, Array]:
        images, targets = data
        model = join_model(graphdef, arrays)
        batch = Batch(images, None, places, None)
        maps, _ = _explained(model, batch, method, seed, stages, targets)
        return is_flat(maps), maps

    return loop(one_batch, batch_size=batch_size)


def class_sums(
    model: FaceClassifier,
    image_set: ImageSet,
    method: Method,
    seed: int,
    *,
    batch_size: int,
    stages: bool = False,
) -> dict[str, np.ndarray]:
    """Return what the mean map of other people is made from.

    Returns:
        sums, float32 [known + 1, height, width], of the maps of each class that is
        predicted for an image, and 0 at the end; counts, float32 [known + 1], how many
        maps those are; places, int32 [classes], where each class is among them.
    """
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, batch: Batch) -> tuple[Array, Array]:
        return _explained(join_model(graphdef, arrays), batch, method, seed, stages)

    rows = over_split(one_batch, arrays, image_set, batch_size=batch_size)
    maps, classes = by_image(rows, len(image_set))
    known, where = np.unique(classes, return_inverse=True)
    sums = np.zeros((len(known) + 1, *maps.shape[1:]), np.float32)
    np.add.at(sums, where, maps)
    counts = np.bincount(where, minlength=len(known) + 1).astype(np.float32)
    places = np.full(model.num_classes, len(known), np.int32)
    places[known] = np.arange(len(known))
    return {"sums": sums, "counts": counts, "places": places}


def mean_map_of(found: Mapping[str, np.ndarray]) -> Method:
    """Return the mean map of other people as a method, from `class_sums`."""
    sums, counts, places = (
        jnp.asarray(found[name]) for name in ("sums", "counts", "places")
    )

    def bound(model: FaceClassifier, clean: CleanPass, key: Array) -> Explanation:
        known = dataclasses.replace(clean, targets=places[clean.targets])
        # Else the compiler takes seconds to add up what it knows beforehand.
        fixed = jax.lax.optimization_barrier(sums)
        return mean_map(model, known, key, sums=fixed, counts=counts)

    return bound


def _explained(
    model: FaceClassifier,
    batch: Batch,
    method: Method,
    seed: int,
    stages: bool,
    targets: Array | None = None,
) -> tuple[Float[Array, "batch height width"], Array]:
    """Return a batch's maps, as a study has them, and the classes explained.

    Those are the predicted ones where `targets` is None.
    """
    clean = saliency.clean_pass(model, batch.images, targets, stages=stages)
    drawn, _ = method_keys(seed, batch.indices)
    return method(model, clean, drawn).saliency, clean.targets
