"""What a source of pictures consists of before it is split: who, where, how to read."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Row = dict[str, str]
NO_PICTURES = "no picture in this folder"  # the reason of somebody's empty folder


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture that lies somewhere, not read yet.

    `image` takes what `contents` gives, so that a picture is read once both to be
    recognised again and to be seen.
    """

    identity: str
    file: str  # what a person calls it, such as "s1/3.pgm"; no two are the same
    contents: Callable[[], bytes]  # InputError where they cannot be read
    # -> uint8 RGB [height, width, 3], a square; InputError where damaged
    image: Callable[[bytes], np.ndarray]
    detail: str = ""  # what else makes the picture, such as a box in a photograph


class Collection(NamedTuple):
    """All that a source has: its pictures, and what else it found."""

    pictures: Sequence[Picture]
    # path and reason of every file that is no picture of the source, and of every
    # folder of somebody without any
    others: Sequence[Row] = ()
    absent: Sequence[str] = ()  # people without any picture
    notes: Sequence[str] = ()  # lines for whoever takes these pictures


def fingerprint(picture: Picture, contents: bytes) -> str:
    """Return the SHA-256 of a picture's bytes and, where it has any, of its detail."""
    return hashlib.sha256(contents + picture.detail.encode()).hexdigest()
