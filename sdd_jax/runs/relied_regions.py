"""What a network leans on: the most salient region of each image, in clusters.

Regions are alike that lie at the same place of the (aligned) face and differ in the
same way from their image's mean colour. A cluster is strong where much confidence is
lost without its regions.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.cluster import hierarchy

from sdd_jax import saliency, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ground_truth
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.ranks import most_salient
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs.method_maps import Method
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.types import Batch, ImageSet

FILL = "mean"
Rows = dict[str, np.ndarray]


def largest_parts(
    masks: Bool[np.ndarray, "images height width"],
) -> Bool[np.ndarray, "images height width"]:
    """Return each mask's largest part that hangs together; of equals, the first."""

    def largest(mask: np.ndarray) -> np.ndarray:
        parts, number = ndimage.label(mask)
        sizes = np.bincount(parts.ravel(), minlength=number + 1)
        return mask & (parts == 1 + sizes[1:].argmax()) if number else mask

    return np.stack([largest(mask) for mask in masks])


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Groups of regions; 1 is the strongest."""

    numbers: Int[np.ndarray, " images"]  # of each image's region; 0 where it has none
    centres: Float[np.ndarray, "clusters features"]

    def nearest(self, rows: Rows) -> Int[np.ndarray, " images"]:
        """Return the number of the cluster whose centre is nearest to each region."""
        apart = np.linalg.norm(features(rows)[:, None] - self.centres, axis=-1)
        return np.where(has_region(rows), 1 + apart.argmin(1), 0)


def regions(
    model: FaceClassifier,
    image_set: ImageSet,
    method: Method,
    *,
    fraction: float,
    seed: int,
    batch_size: int,
    masks: Bool[np.ndarray, "images height width"] | None = None,
) -> Rows:
    """Return each image's region, and what the network says without it.

    `masks`, bool [images, height, width], the region, empty where a map says nothing;
    `place`, float32 [images, 2], the row and column of its centre, in image widths;
    `colour`, float32 [images, 3], its mean colour less the image's, from -1 to 1;
    `prediction`, int32; `confidence` and `filled_confidence`, float32, in the label, as
    it is and with the region filled; `energy`, float32, the share of the map that lies
    in it.

    The region is the largest part of the most salient pixels that hangs together.

    Args:
        model: the classifier.
        image_set: the images.
        method: whose maps of the labels say what is salient.
        fraction: of the pixels, the region's size.
        seed: of lots.
        batch_size: images a batch.
        masks: regions that are known, where the maps are not to be asked.
    """
    graphdef, arrays = split_model(model)

    def one_batch(inputs: Any, batch: Batch) -> dict[str, Array]:
        arrays, known = inputs
        model = join_model(graphdef, arrays)
        clean = saliency.clean_pass(model, batch.images, batch.labels, stages=True)
        drawn, ties = method_keys(seed, batch.indices)
        maps = method(model, clean, drawn).saliency
        flat = is_flat(maps)[:, None, None]
        maps = jnp.where(flat, 0, maps)
        if known is None:
            return {"masks": most_salient(maps, ties, fraction=fraction) & ~flat}
        mask = known[jnp.minimum(batch.indices, len(known) - 1)]
        filled = FILLS[FILL](batch.images, ~mask, ties)
        without = model.scores(model.feature_maps(filled), batch.labels)
        size = jnp.maximum(mask.sum((1, 2)), 1)[:, None]
        rows, columns = jnp.meshgrid(*map(jnp.arange, mask.shape[1:]), indexing="ij")
        places = jnp.stack([rows, columns], -1) / mask.shape[2]
        pixels = batch.images.astype(jnp.float32) / 255
        inside = (pixels * mask[..., None]).sum((1, 2)) / size
        return {
            "masks": mask,
            "place": (places * mask[..., None]).sum((1, 2)) / size,
            "colour": inside - pixels.mean((1, 2)),
            "prediction": clean.scores.decision,
            "confidence": clean.scores.confidence,
            "filled_confidence": without.confidence,
            "energy": ground_truth.energy_inside(maps, mask),
        }

    def measured(masks: np.ndarray | None) -> Rows:
        inputs = arrays, None if masks is None else sharding.replicate(masks)
        rows = over_split(one_batch, inputs, image_set, batch_size=batch_size)
        return by_image(rows, len(image_set))

    if masks is None:
        masks = largest_parts(measured(None)["masks"])
    return measured(masks)


def has_region(rows: Rows) -> Bool[np.ndarray, " images"]:
    """Return which images have a region; a map that says nothing has none."""
    return np.asarray(rows["masks"].any((1, 2)))


def features(rows: Rows) -> Float[np.ndarray, "images 5"]:
    """Return what regions are compared by: place and colour."""
    return np.concatenate([rows["place"], rows["colour"]], axis=1).astype(np.float64)


def lost(rows: Rows) -> Float[np.ndarray, " images"]:
    """Return the confidence in the label that is lost without each region, 0 to 1."""
    return rows["confidence"].astype(np.float64) - rows["filled_confidence"]


def clustered(rows: Rows, number: int) -> Clusters:
    """Return the regions in so many clusters, the strongest first.

    By Ward's method; strong is what loses much confidence, over all its images. Fewer
    regions than clusters are one each.

    Raises:
        InputError: no image has a region.
    """
    there = has_region(rows)
    if not there.any():
        raise InputError(
            f"the maps of all {len(there)} images say nothing: train the network "
            f"first, or choose another revise.method"
        )
    found = features(rows)[there]
    labels = np.ones(len(found), int)
    if len(found) > 1:
        tree = hierarchy.linkage(found, "ward")
        labels = hierarchy.fcluster(tree, number, criterion="maxclust")
    strength = np.bincount(labels, lost(rows)[there])
    order = sorted(set(labels.tolist()), key=lambda label: (-strength[label], label))
    renumbered = {label: place for place, label in enumerate(order, 1)}
    numbers = np.array([renumbered[int(label)] for label in labels])
    centres = [found[numbers == place].mean(0) for place in range(1, len(order) + 1)]
    of_all = np.zeros(len(there), int)
    of_all[there] = numbers
    return Clusters(of_all, np.stack(centres))
