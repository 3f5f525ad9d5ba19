"""What a source of pictures consists of before it is split: who, where, how to read."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np


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


def fingerprint(picture: Picture, contents: bytes) -> str:
    """Return the SHA-256 of a picture's bytes and, where it has any, of its detail."""
    return hashlib.sha256(contents + picture.detail.encode()).hexdigest()
