"""Which face of each picture is wanted: the largest, or the one at a given box."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.images import facescrub, facescrub_files, preprocess
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.facescrub_lists import read_lists


class Wanted(NamedTuple):
    """The pictures of a folder, and where to look for a face in each."""

    paths: list[str]
    # path -> uint8 RGB [height, width, 3] and [x1, y1, x2, y2], or None for the largest
    read: Callable[[str], tuple[np.ndarray, Any]]
    sha256: str | None  # tells these boxes from others


def wanted_faces(source: Path, paths: Sequence[str], boxes: Path | None) -> Wanted:
    """Return which pictures to take, and how to read one.

    Args:
        source: Where the pictures are.
        paths: All there are, below it.
        boxes: JSON lines with path and box; or a folder with FaceScrub's lists, whose
            pictures alone are taken then; or None.

    Raises:
        InputError: The boxes are missing, damaged, or of other pictures.
    """
    if boxes and boxes.is_dir():
        return _by_lists(source, paths, boxes)
    box_of = aligned_folder.read_boxes(boxes, paths) if boxes else {}

    def read(path: str) -> tuple[np.ndarray, Any]:
        return preprocess.decode(source / path), box_of.get(path)

    return Wanted(list(paths), read, aligned_folder.sha256(boxes))


def _by_lists(source: Path, paths: Sequence[str], boxes: Path) -> Wanted:
    listed = read_lists(boxes)
    files = {
        source / path: facescrub_files.identity_of(source / path, source)
        for path in paths
    }
    photographs = facescrub_files.photographs(files, listed, source)
    if not photographs:
        raise InputError(
            f"{boxes} holds {len(listed)} lines of FaceScrub's lists, and none is of a "
            f"photograph in {source}; expected facescrub_actors.txt, "
            "facescrub_actresses.txt and the photographs as downloaded, or leave "
            "--boxes out to take the largest faces"
        )

    def read(path: str) -> tuple[np.ndarray, Any]:
        contents = preprocess.read_file(source / path)
        image, box = facescrub.photograph_and_box(
            source / path, photographs[source / path], contents
        )
        return image, np.array(box, np.float64)

    taken = [path for path in paths if source / path in photographs]
    return Wanted(taken, read, hashlib.sha256(repr(listed).encode()).hexdigest())
