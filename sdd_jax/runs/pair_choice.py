"""Which pairs, and which patch games, maps are proved on: drawn by a seed.

Everybody is on as many probes as everybody else, one more or less.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.patch_games import KINDS

HALVES = ("first", "second", "all")
NUM_RIVALS = 4


class Chosen(NamedTuple):
    """Places of images, one row a pair or game."""

    probes: Int[np.ndarray, " pairs"]
    references: Int[np.ndarray, " pairs"]
    donors: Int[np.ndarray, " pairs"]  # of games; -1 of pairs
    kinds: Int[np.ndarray, " pairs"]  # of games, places in KINDS; -1 of pairs


def half_of(names: Sequence[str], labels: np.ndarray, half: str) -> list[int]:
    """Return the people of a half, by name, in which numbers count as numbers.

    Raises:
        InputError: there is no such half, or it has fewer than three people with two
            images.
    """
    if half not in HALVES:
        raise InputError(
            f"prove_pairs.people is {half!r}, expected one of {', '.join(HALVES)}"
        )

    def natural(label: int) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", names[label])
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    people, numbers = np.unique(labels, return_counts=True)
    ordered = sorted(people.tolist(), key=natural)
    middle = len(ordered) // 2
    found = {"first": ordered[:middle], "second": ordered[middle:], "all": ordered}
    images = dict(zip(people.tolist(), numbers.tolist(), strict=True))
    chosen = [label for label in found[half] if images[label] >= 2]
    if len(chosen) < 3:
        raise InputError(
            f"{len(chosen)} people of the {half} half have two images, expected at "
            f"least 3, of whom the others are compared: add people or images, or pass "
            f"--config.prove_pairs.people=all"
        )
    return chosen


def pairs(
    labels: np.ndarray, people: Sequence[int], number: int, *, genuine: bool, seed: int
) -> Chosen:
    """Return so many pairs of one kind."""
    random = np.random.default_rng([seed, int(genuine)])
    rows = []
    for label in _owners(people, number, random):
        if genuine:
            rows.append(_two_of(labels, label, random))
        else:
            other = int(random.choice([x for x in people if x != label]))
            rows.append([_one_of(labels, x, random) for x in (label, other)])
    probes, references = np.array(rows).T
    none = np.full(number, -1)
    return Chosen(probes, references, none, none)


def games(
    labels: np.ndarray, people: Sequence[int], number: int, *, seed: int
) -> Chosen:
    """Return so many games: of each kind of part as many, one more or less."""
    random = np.random.default_rng([seed, 2])
    rows = []
    for label in _owners(people, number, random):
        donor = int(random.choice([x for x in people if x != label]))
        rows.append([*_two_of(labels, label, random), _one_of(labels, donor, random)])
    probes, references, donors = np.array(rows).T
    return Chosen(probes, references, donors, np.arange(number) % len(KINDS))


def rivals(
    chosen: Chosen,
    labels: np.ndarray,
    embeddings: Float[np.ndarray, "images dimensions"],
    people: Sequence[int],
    templates: Float[np.ndarray, "people dimensions"],
) -> Float[np.ndarray, "pairs rivals dimensions"]:
    """Return the templates that each probe is most like, of nobody of the pair.

    Args:
        chosen: the pairs.
        labels: whose images they are.
        embeddings: of all images, of length 1.
        people: whose the templates are.
        templates: one a person, of length 1.
    """
    cosines = embeddings[chosen.probes] @ templates.T
    known = np.asarray(people)
    for places in (chosen.probes, chosen.references):
        cosines[labels[places][:, None] == known] = -np.inf
    number = min(NUM_RIVALS, len(people) - 2)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :number]
    return templates[order]


def _owners(
    people: Sequence[int], number: int, random: np.random.Generator
) -> list[int]:
    rounds = -(-number // len(people))
    dealt = np.concatenate([random.permutation(people) for _ in range(rounds)])
    return dealt[:number].tolist()


def _two_of(labels: np.ndarray, label: int, random: np.random.Generator) -> list[int]:
    return random.choice(np.flatnonzero(labels == label), 2, replace=False).tolist()


def _one_of(labels: np.ndarray, label: int, random: np.random.Generator) -> int:
    return int(random.choice(np.flatnonzero(labels == label)))
