"""Which images are compared with which, and in which folds.

Folds are of people, so that nothing that is chosen on some is judged on the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sdd_jax.errors import InputError

MOST = 10_000_000  # pairs; each costs some 100 bytes
NUM_FOLDS = 10
_LEAST_FOLDS = 3  # a pair may take two of them, and one is to choose on


class Pairs(NamedTuple):
    """Pairs of images, by their places in a set."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    is_same: Bool[np.ndarray, " pairs"]  # genuine: both are of one person
    people: Int[np.ndarray, "pairs 2"]  # labels
    folds: Int[np.ndarray, "pairs 2"]  # theirs, from 0


def all_pairs(
    labels: Int[np.ndarray, " images"], names: Sequence[str], *, seed: int
) -> Pairs:
    """Return every pair of images; people are dealt into folds at random.

    There are ten folds, or so many that two people are in each.

    Raises:
        InputError: there are too few people for three folds, too many pairs, or nobody
            with two images.
    """
    people = np.unique(labels)
    num_folds = min(NUM_FOLDS, len(people) // 2)
    if num_folds < _LEAST_FOLDS:
        known = ", ".join(names[label] for label in people)
        raise InputError(
            f"the images are of {len(people)} people ({known}): expected at least "
            f"{2 * _LEAST_FOLDS}, so that thresholds are chosen on other people than "
            f"they are judged on; add people"
        )
    num_pairs = len(labels) * (len(labels) - 1) // 2
    if num_pairs > MOST:
        raise InputError(
            f"{len(labels)} images make {num_pairs:,} pairs, expected at most {MOST:,}:"
            f" name pairs of your own in verify.pairs, or take fewer images"
        )
    order = np.random.default_rng(seed).permutation(len(people))
    fold_of = np.zeros(people[-1] + 1, np.int64)
    fold_of[people[order]] = np.arange(len(people)) % num_folds
    first, second = np.triu_indices(len(labels), 1)
    owners = np.stack([labels[first], labels[second]], axis=1)
    is_same = owners[:, 0] == owners[:, 1]
    _require_both(is_same)
    return Pairs(first, second, is_same, owners, fold_of[owners])


def listed(
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    labels: Int[np.ndarray, " images"],
    folds: Int[np.ndarray, " pairs"],
) -> Pairs:
    """Return the pairs of a protocol, with its own folds.

    Raises:
        InputError: they are in one fold, or all of one kind.
    """
    owners = np.stack([labels[first], labels[second]], axis=1)
    is_same = owners[:, 0] == owners[:, 1]
    _require_both(is_same)
    if len(np.unique(folds)) < 2:
        raise InputError(
            "the pairs are in one fold, expected two or more: a threshold must be "
            "chosen on other pairs than it is judged on; take a list with folds, such "
            "as LFW's pairs.txt"
        )
    return Pairs(first, second, is_same, owners, np.stack([folds, folds], axis=1))


def _require_both(is_same: np.ndarray) -> None:
    for kind, number in (("genuine", is_same.sum()), ("impostor", (~is_same).sum())):
        if not number:
            raise InputError(
                f"there is no {kind} pair among {len(is_same)}: expected people with "
                f"two images or more, and two people or more"
            )


def cosines(
    embeddings: Float[np.ndarray, "images dimensions"], pairs: Pairs
) -> Float[np.ndarray, " pairs"]:
    """Return the cosine of every pair, float64; embeddings may have any length."""
    units = np.asarray(embeddings, np.float64)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    found = np.empty(len(pairs.first))
    step = 2**16  # pairs at a time, so that they fit
    for start in range(0, len(found), step):
        block = slice(start, start + step)
        first, second = units[pairs.first[block]], units[pairs.second[block]]
        found[block] = np.einsum("pd,pd->p", first, second)
    return found
