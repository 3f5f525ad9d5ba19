"""Which face of each image is wanted: the largest, or the one at a given box."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.images import decoding
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.alignment.boxes import read_boxes
from sdd_jax.images.sources import facescrub, facescrub_files
from sdd_jax.images.sources.facescrub_lists import read_lists
from sdd_jax.screen import first_of, say


class Wanted(NamedTuple):
    """The images of a folder, and where to look for a face in each."""

    paths: list[str]
    # path -> uint8 RGB [height, width, 3] and [x1, y1, x2, y2], or None for the largest
    read: Callable[[str], tuple[np.ndarray, Any]]
    sha256: str | None  # tells these boxes from others


def wanted_faces(
    source: Path,
    paths: Sequence[str],
    boxes: Path | None,
    *,
    largest_face: bool = False,
) -> Wanted:
    """Return which images to take, and how to read one.

    Those without a box, where there are boxes, are counted on the screen. To read one
    is an InputError, unless the largest face is to be taken.

    Args:
        source: Where the images are.
        paths: All there are, below it.
        boxes: JSON lines with path and box; or a folder with FaceScrub's lists, whose
            images alone are taken then; or None.
        largest_face: Of an image without a box, take the largest face.

    Raises:
        InputError: The boxes are missing, damaged, or of other images.
    """
    if boxes is None:
        wanted = Wanted(
            list(paths), lambda path: (_photograph(source, path), None), None
        )
        return wanted
    if boxes.is_dir():
        wanted, boxed = _by_lists(source, paths, boxes)
    else:
        box_of = read_boxes(boxes, source, paths)
        wanted = Wanted(
            list(paths),
            lambda path: (_photograph(source, path), box_of[path]),
            aligned_folder.sha256(boxes),
        )
        boxed = box_of.keys()
    without = [path for path in wanted.paths if path not in boxed]
    if not without:
        return wanted
    say(
        f"images without a box in {boxes}: {len(without)} of {len(wanted.paths)} "
        f"({first_of(without)}), "
        + (
            "their largest face is taken"
            if largest_face
            else "left out; --largest-face takes their largest face"
        )
    )

    def read(path: str) -> tuple[np.ndarray, Any]:
        if path in boxed:
            return wanted.read(path)
        if largest_face:
            return _photograph(source, path), None
        raise InputError(
            f"{path}: no box in {boxes}; expected a line for it, or --largest-face"
        )

    return wanted._replace(read=read)


def _photograph(source: Path, path: str) -> np.ndarray:
    return decoding.decode(source / path)


def _by_lists(
    source: Path, paths: Sequence[str], boxes: Path
) -> tuple[Wanted, set[str]]:
    """Return the photographs, and which of them the lists have."""
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
    faces = {path: photographs.get(source / path) for path in paths}

    def read(path: str) -> tuple[np.ndarray, Any]:
        contents = decoding.read_file(source / path)
        image, box = facescrub.photograph_and_box(source / path, faces[path], contents)
        return image, np.array(box, np.float64)

    taken = [path for path in paths if source / path in photographs]
    sha256 = hashlib.sha256(repr(listed).encode()).hexdigest()
    return Wanted(taken, read, sha256), {path for path in taken if faces[path]}
