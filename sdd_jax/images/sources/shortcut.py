"""Faces of another source, where a mark goes with a person in most images.

A shortcut that is known: some people get a mark of their own (see `marks`), which is in
a large share of their images and in nobody else's. A network may learn the mark in
place of the face, and its accuracy on such images does not tell. What it learnt,
`evidence` shows: every image with the mark, without it, with the mark of another
marked person, and images of people without a mark, with one.

An image's region is where its mark is, so that training can be told not to look there.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.images import marks, pipeline, preprocess
from sdd_jax.images.sources import source
from sdd_jax.images.splitting.collection import Maker
from sdd_jax.types import ImageSet

SHARE = checks.real(0, 1)
STRENGTH = checks.real(0, 1, above=True)
VERSIONS = ("marked", "without", "swapped", "on_others")


class Version(NamedTuple):
    """Images of a split, with the marks that a version of it has."""

    images: ImageSet
    bearers: np.ndarray  # int32 [images], whose mark is in the image; -1 without one


def maker(*, of: str = "orl", **options: Any) -> Maker:
    """Return how the other source makes an image of any file; nothing is drawn in it.

    A file of the data is as foreign as any other: the data's own images are marked.
    """
    return dataclasses.replace(source(of).maker(**options), root=None)


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    of: str = "orl",
    num_marked: int = 20,
    share: float = 0.9,
    strength: float = 0.9,
    detail: int = 0,
    **options: Any,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets, with marks in the share of images.

    Args:
        image_size: Height and width of the images, in pixels.
        seed: Of the other source, of who is marked, and of the marks.
        record: As the other source takes it.
        of: The other source, a name in MODULES.
        num_marked: How many people have a mark.
        share: Of the images of people with a mark, how many show it.
        strength: The largest share of a mark's colour in its pixels.
        detail: Faces are made as poor as if they had been so many pixels wide; 0
            leaves them as they are. Marks stay sharp.
        options: The other source's own.

    Raises:
        InputError: There is no such source, or there are too few people.
    """
    checks.require(share, SHARE, "share")
    found, marked, draw = _begun(
        *(of, image_size, seed, record, num_marked, strength, detail), options
    )
    return {
        name: draw(image_set, _shown(image_set.labels, marked, share, [seed, place]))
        for place, (name, image_set) in enumerate(found.items())
    }


def evidence(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    of: str = "orl",
    num_marked: int = 20,
    share: float = 0.9,
    strength: float = 0.9,
    detail: int = 0,
    **options: Any,
) -> dict[str, dict[str, Version]]:
    """Return every split in all versions; see VERSIONS and, for arguments, `splits`.

    The first three are of the people with a mark, and `on_others` of all the others,
    each with the mark of a marked person.
    """
    del share  # of the splits that are trained and tested on
    found, marked, draw = _begun(
        *(of, image_size, seed, record, num_marked, strength, detail), options
    )
    people = np.array(sorted(marked))
    following = dict(zip(people.tolist(), np.roll(people, -1).tolist(), strict=True))

    def versions(whole: ImageSet) -> dict[str, Version]:
        has_mark = np.isin(whole.labels, people)
        own = pipeline.subset(whole, np.flatnonzero(has_mark).tolist())
        others = pipeline.subset(whole, np.flatnonzero(~has_mark).tolist())
        bearers = {
            "marked": own.labels,
            "without": np.full_like(own.labels, -1),
            "swapped": np.array([following[int(x)] for x in own.labels], np.int32),
            "on_others": people[np.arange(len(others)) % len(people)].astype(np.int32),
        }
        of_version = {name: own for name in VERSIONS} | {"on_others": others}
        return {
            name: Version(draw(of_version[name], bearers[name]), bearers[name])
            for name in VERSIONS
        }

    return {name: versions(image_set) for name, image_set in found.items()}


def _begun(
    of: str,
    image_size: int,
    seed: int,
    record: Path | None,
    num_marked: int,
    strength: float,
    detail: int,
    options: Mapping[str, Any],
) -> tuple[dict[str, ImageSet], dict[int, marks.Mark], Callable[..., ImageSet]]:
    """Return the other source's splits, who has which mark, and what draws marks."""
    found = source(of).splits(
        image_size=image_size, seed=seed, record=record, **options
    )
    marked = make_marks(
        len(found["train"].names), seed=seed, num_marked=num_marked, strength=strength
    )
    draw = functools.partial(
        _drawn, marked=marked, image_size=image_size, seed=seed, detail=detail
    )
    return found, marked, draw


def make_marks(
    num_identities: int, *, seed: int, num_marked: int, strength: float
) -> dict[int, marks.Mark]:
    """Return who has which mark, by label, from the seed alone.

    Raises:
        InputError: Fewer than two people would have a mark, or all of them.
    """
    checks.require(strength, STRENGTH, "strength")
    if not 2 <= num_marked < num_identities:
        raise InputError(
            f"num_marked={num_marked}: expected from 2 to {num_identities - 1}, so "
            f"that one of the {num_identities} people has no mark"
        )
    random = np.random.default_rng([seed, 2])
    people = random.permutation(num_identities)[:num_marked].tolist()
    drawn = [x for _ in people[::2] for x in marks.pair(random, strength)]
    return dict(zip(people, drawn, strict=False))


def _shown(
    labels: np.ndarray, marked: Mapping[int, marks.Mark], share: float, seed: list[int]
) -> np.ndarray:
    """Return whose mark each image has; in all, the share of those of marked people."""
    bearers = np.where(np.isin(labels, list(marked)), labels, -1).astype(np.int32)
    places = np.flatnonzero(bearers >= 0)
    number = len(places) - round(share * len(places))
    random = np.random.default_rng([*seed, 3])
    bearers[random.permutation(places)[:number]] = -1
    return bearers


def _drawn(
    image_set: ImageSet,
    bearers: np.ndarray,
    *,
    marked: Mapping[int, marks.Mark],
    image_size: int,
    seed: int,
    detail: int,
) -> ImageSet:
    """Return the images with the bearers' marks."""
    files = image_set.files

    def region(place: int) -> Bool[np.ndarray, "size size"]:
        mark = marked.get(int(bearers[place]))
        if mark is None:
            return np.zeros((image_size, image_size), bool)
        return marks.mask_of(mark, files[place], image_size=image_size, seed=seed)

    def read(place: int) -> UInt8[np.ndarray, "size size 3"]:
        image, mark = image_set.read(place), marked.get(int(bearers[place]))
        image = _poor(image, detail) if detail else image
        return image if mark is None else marks.drawn(image, mark, region(place))

    return dataclasses.replace(image_set, read=read, region=region)


def _poor(
    image: UInt8[np.ndarray, "size size 3"], detail: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Return an image as if it had been taken with `detail` x `detail` pixels."""
    return preprocess.resize(preprocess.resize(image, detail), len(image))
