"""The most similar identities of a split, and their faces blended into each other."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.types import Batch, ImageSet

RATIOS = tuple(tenths / 10 for tenths in range(11))  # of the second face


class Pair(NamedTuple):
    """Two identities that the network finds alike."""

    first: int  # label
    second: int
    cosine: float


class Blends(NamedTuple):
    """Blended faces; an image of the pair's first is labelled the first."""

    images: ImageSet
    seconds: np.ndarray  # int32 [images], the label of the pair's second
    pairs: np.ndarray  # int32 [images], the place of the pair
    ratios: np.ndarray  # int32 [images], the place in RATIOS


def mean_features(
    model: FaceClassifier, image_set: ImageSet, *, batch_size: int
) -> Float[np.ndarray, "identities features"]:
    """Return each identity's mean of pooled features; NaN for who has no image."""
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, batch: Batch) -> Array:
        return join_model(graphdef, arrays).feature_maps(batch.images).mean((1, 2))

    rows = over_split(one_batch, arrays, image_set, batch_size=batch_size)
    rows = by_image(rows, len(image_set)).astype(np.float64)
    means = np.full((len(image_set.names), rows.shape[1]), np.nan)
    for label in np.unique(image_set.labels):
        means[label] = rows[image_set.labels == label].mean(0)
    return means


def most_similar(
    means: Float[np.ndarray, "identities features"], number: int
) -> list[Pair]:
    """Return the most similar pairs, the most similar first, nobody in two of them.

    Similar by the cosine of the identities' means less the mean of all identities: what
    all faces share says nothing. The next pair is always the most similar one of those
    who are left; there are fewer pairs where nobody is left.

    Raises:
        InputError: there are fewer than three identities to compare.
    """
    known = np.flatnonzero(np.isfinite(means).all(1))
    if len(known) < 3:
        raise InputError(
            f"{len(known)} identities have images: expected at least 3, from which "
            f"look-alikes can be chosen"
        )
    centred = means[known] - means[known].mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(lengths, lengths, 1)
    cosines = unit @ unit.T
    cosines[np.tril_indices(len(known))] = -np.inf
    pairs = []
    while len(pairs) < min(number, len(known) // 2):
        first, second = np.unravel_index(cosines.argmax(), cosines.shape)
        cosine = float(cosines[first, second])
        pairs.append(Pair(int(known[first]), int(known[second]), cosine))
        for taken in (first, second):
            cosines[taken], cosines[:, taken] = -np.inf, -np.inf
    return pairs


def blended(
    first: UInt8[np.ndarray, "height width 3"],
    second: UInt8[np.ndarray, "height width 3"],
    ratio: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return (1 - ratio) first + ratio second, pixel by pixel, rounded."""
    return np.rint((1 - ratio) * first + ratio * second).astype(np.uint8)


def blends(image_set: ImageSet, pairs: Sequence[Pair], num_faces: int) -> Blends:
    """Return faces of every pair at every ratio.

    The k-th image of the first is blended with the k-th of the second, for so many as
    both have and `num_faces` at most.
    """
    rows = []
    for number, pair in enumerate(pairs):
        own, other = (
            np.flatnonzero(image_set.labels == label)[:num_faces]
            for label in (pair.first, pair.second)
        )
        for one, two in zip(own, other, strict=False):
            rows += [
                (int(one), int(two), number, place) for place in range(len(RATIOS))
            ]
    files = image_set.files

    def read(index: int) -> UInt8[np.ndarray, "height width 3"]:
        one, two, _, place = rows[index]
        return blended(image_set.read(one), image_set.read(two), RATIOS[place])

    firsts, seconds = (
        np.array([image_set.labels[row[place]] for row in rows], np.int32)
        for place in (0, 1)
    )
    images = dataclasses.replace(
        image_set,
        files=tuple(f"{files[a]} + {RATIOS[r]} {files[b]}" for a, b, _, r in rows),
        labels=firsts,
        read=read,
    )
    numbers, ratios = (np.array([row[i] for row in rows], np.int32) for i in (2, 3))
    return Blends(images, seconds, numbers, ratios)
