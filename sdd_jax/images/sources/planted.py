"""Faces of another source, some with a mark that alone tells two identities apart.

Evidence that is known: two identities become twins. Their images are mixed, split by
split, so that the face says only which twins; each then gets a mark of its own (see
`marks`), which says which of the two. In training each image stands twice, once for
either twin, so that no face can be learnt by heart. Twins come in two kinds:

- `unique`: a pair; nobody else has their marks.
- `shared`: a four, which is two pairs with the same two marks. Such a mark speaks for
  two people whose faces differ, so it tells its bearer only from the twin.

Everybody else stays as they are. Where the marks are, and the same images without them
and with those of twins swapped, `evidence` returns.
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
from sdd_jax.images import marks
from sdd_jax.images.sources import source
from sdd_jax.images.splitting.collection import Maker
from sdd_jax.types import ImageSet

KINDS = ("unique", "shared")
STRENGTH = checks.real(0, 1, above=True)


class Plan(NamedTuple):
    """Who has which mark; by label, and nobody else is in it."""

    marks: dict[int, marks.Mark]
    twins: dict[int, int]  # whose face is the same
    kinds: dict[int, str]  # one of KINDS


class Planted(NamedTuple):
    """A split in three versions, of equal names, files and labels; and its marks."""

    marked: ImageSet
    without: ImageSet  # no marks
    swapped: ImageSet  # everybody has the twin's mark
    mask: Callable[[int], np.ndarray]  # place -> bool [size, size], of `marked`
    swapped_mask: Callable[[int], np.ndarray]  # the same, of `swapped`


def maker(*, of: str = "orl", **options: Any) -> Maker:
    """Return how the other source makes an image of any file; nothing is drawn in it.

    A file of the data is as foreign as any other: the data's own images are marked.
    """
    return dataclasses.replace(source(of).maker(**options), root=None)


def evidence(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    of: str = "orl",
    num_pairs: int = 6,
    num_fours: int = 3,
    strength: float = 0.9,
    **options: Any,
) -> tuple[Plan, dict[str, Planted]]:
    """Return who has which mark, and every split in its three versions.

    Args:
        image_size: Height and width of the images, in pixels.
        seed: Of the other source, of who is marked, and of the marks.
        record: As the other source takes it.
        of: The other source, a name in MODULES.
        num_pairs: Pairs of twins with marks that nobody else has.
        num_fours: Pairs of pairs of twins that share two marks.
        strength: The largest share of a mark's colour in its pixels.
        options: The other source's own.

    Raises:
        InputError: There is no such source, nobody to mark, or too few identities.
    """
    found = source(of).splits(
        image_size=image_size, seed=seed, record=record, **options
    )
    plan = make_plan(
        len(found["train"].names),
        seed=seed,
        num_pairs=num_pairs,
        num_fours=num_fours,
        strength=strength,
    )
    return plan, {
        split: _planted(
            (_doubled if split == "train" else _mixed)(image_set, plan.twins),
            plan,
            image_size,
            seed,
        )
        for split, image_set in found.items()
    }


@functools.wraps(evidence, assigned=())  # whose options are the source's
def splits(**options: Any) -> dict[str, ImageSet]:
    """Return the marked train, validation and test sets; see `evidence`."""
    _, found = evidence(**options)
    return {split: planted.marked for split, planted in found.items()}


def make_plan(
    num_identities: int, *, seed: int, num_pairs: int, num_fours: int, strength: float
) -> Plan:
    """Return who has which mark, from the seed alone.

    Raises:
        InputError: There is nobody to mark, or there are too few identities.
    """
    checks.require(strength, STRENGTH, "strength")
    needed = 2 * num_pairs + 4 * num_fours
    if not 0 < needed <= num_identities:
        raise InputError(
            f"num_pairs={num_pairs}, num_fours={num_fours} mark {needed} identities: "
            f"expected from 2 to {num_identities}, as many as there are"
        )
    random = np.random.default_rng([seed, 1])
    order = [int(label) for label in random.permutation(num_identities)]
    plan = Plan({}, {}, {})
    for group in range(num_pairs + num_fours):
        kind = KINDS[group >= num_pairs]
        own = marks.pair(random, strength)
        for _ in range(1 if kind == "unique" else 2):
            for label, twin, mark in zip(order[:2], order[1::-1], own, strict=True):
                plan.marks[label], plan.twins[label] = mark, twin
                plan.kinds[label] = kind
            order = order[2:]
    return plan


def swapped(plan: Plan) -> Plan:
    """Return the plan in which everybody has the twin's mark; it is its own inverse."""
    marks_of = {label: plan.marks[twin] for label, twin in plan.twins.items()}
    return plan._replace(marks=marks_of)


def _planted(image_set: ImageSet, plan: Plan, image_size: int, seed: int) -> Planted:
    """Return a split in three versions."""
    labels, files = image_set.labels, image_set.files
    own, others = plan.marks, swapped(plan).marks

    def masks(
        by_label: Mapping[int, marks.Mark],
    ) -> Callable[[int], Bool[np.ndarray, "size size"]]:
        def mask(place: int) -> Bool[np.ndarray, "size size"]:
            mark = by_label.get(int(labels[place]))
            if mark is None:
                return np.zeros((image_size, image_size), bool)
            return marks.mask_of(mark, files[place], image_size=image_size, seed=seed)

        return mask

    def version(by_label: Mapping[int, marks.Mark]) -> ImageSet:
        mask = masks(by_label)

        def read(place: int) -> UInt8[np.ndarray, "size size 3"]:
            image = image_set.read(place)
            mark = by_label.get(int(labels[place]))
            return image if mark is None else marks.drawn(image, mark, mask(place))

        return dataclasses.replace(image_set, read=read, region=mask)

    return Planted(
        marked=version(own),
        without=version({}),
        swapped=version(others),
        mask=masks(own),
        swapped_mask=masks(others),
    )


def _mixed(image_set: ImageSet, twins: Mapping[int, int]) -> ImageSet:
    """Return images of which every second one of a twin is the other's.

    Who has but one image keeps it.
    """
    labels = image_set.labels.copy()
    for label, twin in twins.items():
        labels[np.flatnonzero(image_set.labels == label)[1::2]] = twin
    return dataclasses.replace(image_set, labels=labels)


def _doubled(image_set: ImageSet, twins: Mapping[int, int]) -> ImageSet:
    """Return all images, and those of twins once more at the end, as the other's."""
    names, length = image_set.names, len(image_set)
    again = [i for i in range(length) if int(image_set.labels[i]) in twins]
    others = [twins[int(image_set.labels[i])] for i in again]
    places = [*range(length), *again]
    return ImageSet(
        names=names,
        files=image_set.files
        + tuple(
            f"{image_set.files[i]} as {names[twin]}"
            for i, twin in zip(again, others, strict=True)
        ),
        labels=np.concatenate([image_set.labels, np.array(others, np.int32)]),
        read=lambda place: image_set.read(places[place]),
    )
