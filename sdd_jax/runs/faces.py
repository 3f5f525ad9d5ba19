"""The face in an image file, as a network takes it: found and aligned, or as it is.

Images are uint8 RGB, [size, size, 3].
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import decoding, preprocess, quality
from sdd_jax.images.alignment import crops
from sdd_jax.images.alignment.detectors import Detector, load_mtcnn

MIN_SCORE = 0.9  # of `python -m sdd_jax.images.align` as well
# In a photograph with a shorter side a detector misses faces: it is enlarged so far.
# Then all of ORL's, 92 x 112, are found.
SMALL, ENLARGED = 200, 4
# Below this a crop of 112 pixels, where the eyes are 35 apart, is four fifths invented.
LEAST_EYE_DISTANCE = 7.0

# A file's contents and what errors call it -> its face.
Maker = Callable[[bytes, str], np.ndarray]


def maker(
    *, size: int, align: bool, largest: bool = False, min_score: float = MIN_SCORE
) -> Maker:
    """Return what makes a face of a file; it raises InputError where there is none.

    Args:
        size: height and width, in pixels.
        align: whether to find and align the face; else the middle square is taken.
        largest: whether to take the largest of several faces; else they are an error.
        min_score: faces that are less certain, from 0 to 1, do not count.

    Raises:
        InputError: a package that finds faces is missing.
    """
    if not align:

        def as_it_is(contents: bytes, name: str) -> np.ndarray:
            return preprocess.resize(preprocess.middle(name, contents), size)

        return as_it_is
    detect = load_mtcnn()
    options = {"size": size, "largest": largest, "min_score": min_score}

    def aligned(contents: bytes, name: str) -> np.ndarray:
        return found(contents, name, detect, **options)[0]

    return aligned


def found(
    contents: bytes,
    name: str,
    detect: Detector,
    *,
    size: int,
    largest: bool,
    min_score: float,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the aligned face of a photograph, and what was found; see `crops`.

    Box and landmarks are in the photograph's own pixels, whether or not it had to be
    enlarged.

    Args:
        contents: the file's.
        name: what errors call it.
        detect: what finds faces.
        size: as for `maker`, and what follows.
        largest: likewise.
        min_score: likewise.

    Raises:
        InputError: it is no image, or there is no face in it, several, or a small one.
    """
    pixels = decoding.decode(contents, name)
    factor = ENLARGED if min(pixels.shape[:2]) < SMALL else 1
    if factor > 1:
        height, width = (factor * side for side in pixels.shape[:2])
        whole = Image.fromarray(pixels)
        pixels = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))
    preprocess.checked(pixels, name, of=pixels)
    try:
        face, row = crops.aligned(pixels, detect, size=size, min_score=min_score)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if row["num_faces"] > 1 and not largest:
        raise InputError(
            f"{name}: {row['num_faces']} faces found, expected one: cut the others "
            f"off, or have the largest taken (--largest of enroll, "
            f"--config.MODE.largest=True of modes)"
        )
    for key in ("box", "landmarks"):
        row[key] = in_own_pixels(row[key], factor).tolist()
    distance = quality.pose(np.array(row["landmarks"]))["eye_distance"]
    if distance < LEAST_EYE_DISTANCE:
        raise InputError(
            f"{name}: the eyes are {distance:.1f} pixels apart, expected at least "
            f"{LEAST_EYE_DISTANCE:g}: the face is too small, take a larger photograph"
        )
    return face, row


def in_own_pixels(points: Any, factor: int) -> np.ndarray:
    """Return where points of an enlarged photograph are in it as it was."""
    # The middle of the first pixel is at 0 in either.
    return (np.array(points, np.float64) + 0.5) / factor - 0.5
