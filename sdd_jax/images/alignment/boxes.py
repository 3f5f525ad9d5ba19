"""A file of boxes: JSON lines with path and box, which say what face is meant.

Who wrote the file may have been on another system, so a path that is no image's own
is looked up by its key: Unicode, case, slashes and a leading ./ or SOURCE do not count.
"""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sdd_jax.errors import InputError
from sdd_jax.files import parsed, read_text
from sdd_jax.screen import say


def read_boxes(
    path: Path, source: Path, images: Sequence[str]
) -> dict[str, Float[np.ndarray, "4"]]:
    """Return the boxes in a file, by the images that they are in.

    Lines that fit no image are counted on the screen, and the first one named.

    Args:
        path: The file.
        source: The folder of the images.
        images: All there are, relative to it.

    Raises:
        InputError: The file is missing or damaged or fits none of the images, or it
            cannot be told which line is of which image.
    """
    lines = _lines(path)
    known, by_key = set(images), defaultdict(list)
    for image in images:
        by_key[_key(image)].append(image)
    places = (source, source.absolute(), source.resolve())
    sources = {_key(str(place)).rstrip("/") + "/" for place in places}
    found = {}
    line_of: dict[str, int] = {}
    strangers = []
    for number, (name, box) in lines.items():
        fits = [name] if name in known else _alike(name, by_key, sources)
        if len(fits) > 1:
            raise InputError(
                f"{path}, line {number}: {name} can be {fits[0]} or {fits[1]}; "
                "expected the path of one, exactly as it is written"
            )
        if not fits:
            strangers.append((number, name))
            continue
        [image] = fits
        if image in found:
            raise InputError(
                f"{path}: lines {line_of[image]} and {number} "
                f"({lines[line_of[image]][0]} and {name}) are both of the image "
                f"{image}; expected one box for each, remove a line"
            )
        found[image], line_of[image] = box, number
    if not found:
        raise InputError(
            f"{path}: none of its {len(lines)} paths is an image of SOURCE; expected "
            f"paths such as {images[0]}"
        )
    if strangers:
        number, name = strangers[0]
        say(
            f"boxes of no image: {len(strangers)} of {len(lines)} lines of {path}, "
            f"the first is line {number}, {name}"
        )
    return found


def _lines(path: Path) -> dict[int, tuple[str, Float[np.ndarray, "4"]]]:
    """Return the path and the box in each line that is not empty, by its number."""
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected a file of boxes"
        ) from error
    found = {}
    names = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
            box, name = np.array(row["box"], np.float64), row["path"]
            is_box = box.shape == (4,) and np.isfinite(box).all()
            if not is_box or not (box[:2] < box[2:]).all():
                raise ValueError
            if not isinstance(name, str) or name in names:
                raise ValueError
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f'{path}, line {number}: expected {{"path": "ann/1.jpg", "box": [x1, '
                "y1, x2, y2]}, x1 below x2, y1 below y2, each path once"
            ) from error
        names.add(name)
        found[number] = name, box
    return found


def _alike(
    name: str, by_key: Mapping[str, list[str]], sources: Iterable[str]
) -> list[str]:
    """Return the images that a line's path can be meant for."""
    key = _key(name)
    below = [key.removeprefix(place) for place in sources if key.startswith(place)]
    return next((by_key[it] for it in (key, *below) if it in by_key), [])


def _key(path: str) -> str:
    """Return what paths have in common that differ in how they are written alone."""
    slashed = posixpath.normpath(re.sub(r"[/\\]+", "/", path))
    folded = unicodedata.normalize("NFC", slashed).casefold()
    return unicodedata.normalize("NFC", folded)
