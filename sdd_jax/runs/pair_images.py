"""The two images of a pair: found, aligned, measured.

An image is named as the data name it, or is a file of a photograph. Of a photograph the
face is found and aligned as those of the data were; where the data are not aligned, it
is made into an image as the data's own files are.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from sdd_jax import files, screen
from sdd_jax.errors import InputError
from sdd_jax.files import exists, expanded
from sdd_jax.images import image_maker, quality
from sdd_jax.images.alignment import crops
from sdd_jax.images.alignment.detectors import load_mtcnn
from sdd_jax.images.decoding import decode, read_file
from sdd_jax.images.preprocess import checked, resize
from sdd_jax.runs.asked_names import path_of
from sdd_jax.runs.verify_images import ENLARGED, MIN_SCORE
from sdd_jax.types import ImageSet

_SMALL = 200  # pixels: in what is smaller, a detector misses faces; it is enlarged
# Below this a crop of 112 pixels, where the eyes are 35 apart, is four fifths invented.
LEAST_EYE_DISTANCE = 7.0
NOBODY = -1  # the label of an image that is none of the data


@dataclasses.dataclass(frozen=True)
class PairImage:
    """One image of a pair."""

    file: str  # as it was asked for
    sha256: str  # of the file, or of the pixels where the data name it
    image: UInt8[np.ndarray, "size size 3"]
    label: int  # whose it is in the data, or NOBODY
    measures: dict[str, float | None]  # see `quality`; None is not measured
    num_faces: int | None  # in the photograph


def named(
    name: str,
    images: ImageSet,
    config: Mapping[str, Any],
    landmarks: Mapping[str, Any],
    *,
    largest: bool,
) -> PairImage:
    """Return an image of the data, or of a file.

    Args:
        name: what the data call it, or a path.
        images: the data.
        config: of which `data` and `verify.align` are used.
        landmarks: of the data's images, from `known_landmarks`.
        largest: of several faces in a photograph, take the largest.

    Raises:
        InputError: there is no such image, or no face in it, several, or a small one.
    """
    if name in images.files:
        place = images.files.index(name)
        image = images.read(place)
        sha256 = hashlib.sha256(image.tobytes()).hexdigest()
        measures = measured(image, landmarks.get(name))
        return PairImage(name, sha256, image, int(images.labels[place]), measures, None)
    path = path_of(name)
    if path is None or path.is_dir():
        found = "a folder" if path else "neither a file nor in the data"
        raise InputError(
            f"{name} is {found}: expected a photograph, or the name of an image in the "
            f"data, such as {images.files[0]}"
        )
    size = images.read(0).shape[0]
    contents = read_file(path)
    sha256 = hashlib.sha256(contents).hexdigest()
    if not config["verify"]["align"]:
        made = image_maker(config["data"]).image(str(path), contents)
        image = resize(made, size)
        return PairImage(name, sha256, image, NOBODY, measured(image, None), None)
    image, row = _aligned(path, contents, size, largest=largest)
    measures = measured(image, np.array(row["landmarks"]))
    return PairImage(name, sha256, image, NOBODY, measures, row["num_faces"])


def _aligned(
    path: Path, contents: bytes, size: int, *, largest: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a photograph's crop and its row, with landmarks in its own pixels."""
    photograph = decode(contents, str(path))
    factor = ENLARGED if min(photograph.shape[:2]) < _SMALL else 1
    larger = Image.fromarray(photograph)
    if factor > 1:
        larger = larger.resize(
            (factor * larger.width, factor * larger.height), Image.Resampling.BICUBIC
        )
    pixels = np.asarray(larger)
    checked(pixels, str(path), of=pixels)
    try:
        image, row = crops.aligned(pixels, load_mtcnn(), size=size, min_score=MIN_SCORE)
    except InputError as error:
        raise InputError(
            f"{path}: {error}: take a photograph with one whole face, seen from the "
            f"front"
        ) from error
    if row["num_faces"] > 1 and not largest:
        raise InputError(
            f"{path} shows {row['num_faces']} faces, expected one: cut the photograph, "
            f"or take the largest face with --config.explain_pair.largest=True"
        )
    landmarks = (np.array(row["landmarks"]) + 0.5) / factor - 0.5
    distance = quality.pose(landmarks)["eye_distance"]
    if distance < LEAST_EYE_DISTANCE:
        raise InputError(
            f"{path}: the eyes are {distance:.1f} pixels apart, expected at least "
            f"{LEAST_EYE_DISTANCE:g}: the face is too small, take a larger photograph"
        )
    if row["num_faces"] > 1:
        screen.say(f"{path}: the largest of {row['num_faces']} faces is taken")
    return image, row | {"landmarks": landmarks.tolist()}


def known_landmarks(
    config: Mapping[str, Any], workdir: Path
) -> dict[str, Float[np.ndarray, "5 2"]]:
    """Return the five points of the data's images, by name, in their own pixels.

    There are none where the data came aligned.
    """
    path = workdir / "aligned" / "alignment.jsonl"
    if not (config["verify"]["align"] and exists(expanded(str(path)))):
        return {}
    factor = ENLARGED if config["data"]["source"] == "orl" else 1
    rows = files.rows_of(files.read_text(path))
    return {
        row["path"]: (np.array(row["landmarks"]) + 0.5) / factor - 0.5 for row in rows
    }


def measured(
    image: UInt8[np.ndarray, "size size 3"], landmarks: Float[np.ndarray, "5 2"] | None
) -> dict[str, float | None]:
    """Return an image's measures of quality; those of the pose need landmarks."""
    names = ("eye_distance", "roll", "yaw", "pitch")
    none: dict[str, float | None] = dict.fromkeys(names)
    found = none if landmarks is None else quality.pose(landmarks)
    return {**found, "sharpness": quality.sharpness(image)}
