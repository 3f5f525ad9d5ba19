"""What a source of pictures consists of before it is split: who, where, how to read."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

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


@dataclasses.dataclass(frozen=True)
class Maker:
    """How a source makes an image of a file, of one of its own or of any other."""

    # a file's path and contents -> uint8 RGB; InputError where damaged
    image: Callable[[str, bytes], np.ndarray]
    root: Path | None = None  # The source's own files are ROOT/<picture's file>.
    # Where faces are cut out by boxes: whether a file has one. The others' middle
    # square is taken.
    has_box: Callable[[Path], bool] | None = None


def same_file(path: Path) -> tuple[int, int] | None:
    """Return what all paths of one file share, links too; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def fingerprint(picture: Picture, contents: bytes) -> str:
    """Return the SHA-256 of a picture's bytes and, where it has any, of its detail."""
    return hashlib.sha256(contents + picture.detail.encode()).hexdigest()
