"""Groups of people or images: how often each is mixed up, or not known again.

A file of groups has lines NAME,LABEL; a name is an image's, such as s1/7.pgm, or a
person's, such as s1. An image's own label goes before its person's.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.screen import first_of, say
from sdd_jax.verification.pairs import Pairs

UNKNOWN = "unknown"


def read(path: Path) -> dict[str, str]:
    """Return a file's labels by name.

    Raises:
        InputError: it cannot be read, or a line is not as it should be.
    """
    try:
        rows = list(csv.reader(files.read_text(path).splitlines()))
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: {reason}; expected lines NAME,LABEL (data.groups)"
        ) from error
    found = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if (
            len(cells) != 2
            or not all(cells)
            or found.get(cells[0], cells[1]) != cells[1]
        ):
            raise InputError(
                f"{path}, line {number}: {','.join(row)!r}; expected NAME,LABEL, such "
                f"as s1,left, and one label for a name"
            )
        found[cells[0]] = cells[1]
    return found


def labels_of(
    groups: Mapping[str, str],
    images: Sequence[str],
    people: Sequence[str],
    path: Path,
) -> list[str]:
    """Return each image's group, UNKNOWN where nobody says.

    Args:
        groups: labels by name.
        images: what each is called.
        people: whose each is.
        path: of the groups, for the error.

    Raises:
        InputError: no name is an image's or a person's.
    """
    known = {*images, *people}
    strangers = sorted(set(groups) - known)
    if len(strangers) == len(groups):
        named = f"names nobody ({first_of(strangers)})" if strangers else "is empty"
        raise InputError(
            f"{path} {named}: expected names of images or people of the data, such as "
            f"{images[0]} or {people[0]}"
        )
    if strangers:
        say(
            f"groups of nobody, left out: {len(strangers)} of {len(groups)} names "
            f"({first_of(strangers)})"
        )
    return [
        groups.get(image, groups.get(person, UNKNOWN))
        for image, person in zip(images, people, strict=True)
    ]


def members(
    groups: Sequence[str], pairs: Pairs
) -> dict[str, Bool[np.ndarray, " pairs"]]:
    """Return which pairs have both images in a group, by group in order."""
    names, places = np.unique(np.array(groups), return_inverse=True)
    first: Int[np.ndarray, " pairs"] = places[pairs.first]
    second = places[pairs.second]
    return {
        str(name): (first == place) & (second == place)
        for place, name in enumerate(names)
    }
