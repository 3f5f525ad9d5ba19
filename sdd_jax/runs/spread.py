"""Some images of a split, evenly spaced, so that many people are among them."""

import numpy as np

from sdd_jax.images import pipeline
from sdd_jax.types import ImageSet


def spread(image_set: ImageSet, number: int) -> ImageSet:
    """Return so many images, evenly spaced; all of them where the number is 0."""
    return pipeline.subset(image_set, spread_places(len(image_set), number))


def spread_first(image_set: ImageSet, number: int) -> ImageSet:
    """Return all images, so many that are evenly spaced before the others.

    What explains only the first of them explains as many people as it can.
    """
    first = spread_places(len(image_set), number)
    rest = sorted(set(range(len(image_set))) - set(first))
    return pipeline.subset(image_set, first + rest)


def first_images(image_set: ImageSet, number: int) -> ImageSet:
    """Return the first images; all of them where the number is 0."""
    if not 0 < number < len(image_set):
        return image_set
    return pipeline.subset(image_set, range(number))


def spread_places(length: int, number: int) -> list[int]:
    """Return so many evenly spaced places; all of them where the number is 0."""
    if not 0 < number < length:
        return list(range(length))
    return [int(place) for place in np.linspace(0, length - 1, number).round()]
