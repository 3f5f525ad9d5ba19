"""What a source of images consists of before it is split: who, where, how to read."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdd_jax.errors import InputError

Row = dict[str, str]
NO_IMAGES = "no image in this folder"  # the reason of somebody's empty folder


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """One image that lies somewhere, not read yet.

    `pixels` takes what `contents` gives, so that an image is read once both to be
    recognised again and to be seen.
    """

    identity: str
    file: str  # what a person calls it, such as "s1/3.pgm"; no two are the same
    contents: Callable[[], bytes]  # InputError where they cannot be read
    # -> uint8 RGB [height, width, 3], a square; InputError where damaged
    pixels: Callable[[bytes], np.ndarray]
    detail: str = ""  # what else makes the image, such as a box in a photograph


class Collection(NamedTuple):
    """All that a source has: its images, and what else it found."""

    images: Sequence[SourceImage]
    # path and reason of every file that is no image of the source, and of every
    # folder of somebody without any
    others: Sequence[Row] = ()
    absent: Sequence[str] = ()  # people without any image
    notes: Sequence[str] = ()  # lines for whoever takes these images


@dataclasses.dataclass(frozen=True)
class Maker:
    """How a source makes an image of a file, of one of its own or of any other."""

    # a file's path and contents -> uint8 RGB; InputError where damaged
    image: Callable[[str, bytes], np.ndarray]
    root: Path | None = None  # The source's own files are ROOT/<image's file>.
    # Where faces are cut out by boxes: whether a file has one. The others' middle
    # square is taken.
    has_box: Callable[[Path], bool] | None = None


def finder(root: Path, files: Iterable[str]) -> Callable[[Path], str | None]:
    """Return what tells which of a folder's files a path is of, None where of none.

    Links count as what they lead to. Where several of the files are one on the disk, as
    a photograph of two people may be, only its own path says which is meant.

    Args:
        root: The folder.
        files: Paths relative to it.
    """
    place = root.resolve()
    by_path, by_inode = {}, defaultdict(list)
    for file in files:
        by_path[place / file] = file
        by_inode[_inode(root / file)].append(file)
    by_inode.pop(None, None)

    def find(path: Path) -> str | None:
        own = by_path.get(path.parent.resolve() / path.name)
        found = [own] if own else by_inode.get(_inode(path), [])
        if len(found) > 1:
            raise InputError(
                f"{path} is {' and '.join(sorted(found)[:3])} at once; expected the "
                f"path of one of these in {root}"
            )
        return found[0] if found else None

    return find


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def fingerprint(image: SourceImage, contents: bytes) -> str:
    """Return the SHA-256 of an image's bytes and, where it has any, of its detail."""
    return hashlib.sha256(contents + image.detail.encode()).hexdigest()
