"""Where a network must look, or must not: a mask for each image of a set.

From files that a person drew, or from the five landmarks that alignment found.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import aligned_folder, similarity
from sdd_jax.images.decoding import decode
from sdd_jax.screen import first_of, in_threads, say
from sdd_jax.types import ImageSet

# Discs about a landmark, as long as this share of the distance between the eyes.
_RADIUS = 0.35
# Landmarks, by their place in `similarity.template`; lines join the first to the last.
PARTS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "eyes": ((0,), (1,)),
    "nose": ((2,),),
    "mouth": ((3, 4),),
}
_LIGHT = 128  # a mask's pixels from here on are the region


def mask_path(folder: Path, file: str) -> Path:
    """Return where the mask of an image lies: its own path, and .png after it.

    Or in place of its suffix, where no mask lies at the first.
    """
    whole = folder / f"{file}.png"
    return whole if whole.is_file() else folder / Path(file).with_suffix(".png")


def of_masks(image_set: ImageSet, folder: Path, *, size: int) -> ImageSet:
    """Return the set with the regions that a folder of masks has.

    A mask is a picture of the square that the network sees, of any size, white where
    the region is. It lies where the image does, and is called a.jpg.png or a.png for
    a.jpg; an image without one has no region.

    Args:
        image_set: The images.
        folder: With the masks.
        size: Height and width of the images, in pixels.

    Raises:
        InputError: There is no mask of any image, one is damaged or not square, or none
            says anything: all are black, or all are white.
    """
    paths = [mask_path(folder, file) for file in image_set.files]
    has_mask = [path.is_file() for path in paths]
    if not any(has_mask):
        raise InputError(
            f"{folder} {_what_it_has(folder)}: no mask of the {len(paths)} training "
            f"images; expected files such as {paths[0]}"
        )
    nothing = np.zeros((size, size), bool)

    def read(place: int) -> Bool[np.ndarray, "size size"]:
        return read_mask(paths[place], size) if has_mask[place] else nothing

    # All now: a damaged one is told before hours of training.
    masks = in_threads(read, range(len(paths)), "reading the masks")
    for colour, is_so in (
        ("black", not any(mask.any() for mask in masks)),
        ("white", all(mask.all() for mask in masks)),
    ):
        if is_so:
            raise InputError(
                f"the masks in {folder} are {colour} all over, so they tell nothing: "
                f"expected masks that are white ({_LIGHT} of 255 or more) where the "
                f"region is, and black elsewhere"
            )
    say(f"masks of {sum(has_mask)} of {len(paths)} training images in {folder}")
    return dataclasses.replace(image_set, region=masks.__getitem__)


def _what_it_has(folder: Path) -> str:
    """Return what is found in a folder, in words."""
    if not folder.exists():
        return "does not exist"
    if not folder.is_dir():
        return "is no folder"
    # The first file only: the folder may be a whole disk.
    for place, folders, names in os.walk(folder):
        folders.sort()
        if names:
            found = Path(place, min(names)).relative_to(folder)
            return f"has {found} and the like"
    return "is empty"


def read_mask(path: Path, size: int) -> Bool[np.ndarray, "{size} {size}"]:
    """Return a mask from a file, at a network's resolution.

    Raises:
        InputError: It cannot be read, or is not square.
    """
    pixels = decode(path)
    height, width = pixels.shape[:2]
    if height != width:
        raise InputError(
            f"{path} has {width}x{height} pixels: expected a square, a mask of what "
            f"the network sees"
        )
    grey = Image.fromarray(pixels).convert("L")
    resized = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized) >= _LIGHT


def of_parts(
    image_set: ImageSet, root: Path, parts: Sequence[str], *, size: int
) -> ImageSet:
    """Return the set with parts of the face as regions, by `alignment.jsonl`.

    Args:
        image_set: Images that `sdd_jax.images.align` made.
        root: Their folder.
        parts: Names in PARTS.
        size: Height and width of the images, in pixels.

    Raises:
        InputError: A part is not known, the folder has no record of the alignment, it
            is damaged, or an image is not in it.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(
                f"there is no part of the face called {part!r}: expected some of "
                f"{', '.join(PARTS)}"
            )
    record = root / "alignment.jsonl"
    if not record.is_file():
        raise InputError(
            f"{root} has no alignment.jsonl, which says where {' and '.join(parts)} "
            f"are: align the images with python -m sdd_jax.images.align, or draw masks"
        )
    rows = aligned_folder.recorded(record, landmarks=True)
    landmarks = {row["output"]: np.array(row["landmarks"]) for row in rows}
    missing = [file for file in image_set.files if file not in landmarks]
    if missing:
        raise InputError(
            f"{record} has no line for {len(missing)} of {len(image_set)} training "
            f"images ({first_of(missing, 3)}): align them again"
        )
    mask = part_mask(parts, size)

    @functools.cache
    def region(place: int) -> Bool[np.ndarray, "size size"]:
        return mask(landmarks[image_set.files[place]])

    return dataclasses.replace(image_set, region=region)


def part_mask(
    parts: Sequence[str], size: int
) -> Callable[[Float[np.ndarray, "5 2"]], Bool[np.ndarray, "size size"]]:
    """Return the function from a photograph's landmarks to parts of its crop."""
    target = similarity.template(size)

    def mask(landmarks: Float[np.ndarray, "5 2"]) -> Bool[np.ndarray, "size size"]:
        matrix = similarity.similarity_transform(landmarks, target)
        points = landmarks @ matrix[:, :2].T + matrix[:, 2]
        radius = _RADIUS * np.linalg.norm(points[1] - points[0])
        found = np.zeros((size, size), bool)
        for part in parts:
            for line in PARTS[part]:
                ends = points[line[0]], points[line[-1]]
                found |= _distance_to_line(*ends, size) <= radius
        return found

    return mask


def _distance_to_line(
    start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"], size: int
) -> Float[np.ndarray, "size size"]:
    """Return each pixel's distance to the nearest point between two points."""
    rows, columns = np.indices((size, size))
    pixels = np.stack([columns, rows], -1).astype(np.float64)
    along = end - start
    length = float(along @ along)
    share = (pixels - start) @ along / length if length else np.zeros((size, size))
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(pixels - nearest, axis=-1)
