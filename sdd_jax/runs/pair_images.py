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

from sdd_jax import screen
from sdd_jax.images import image_maker, quality
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.alignment.detectors import load_mtcnn
from sdd_jax.images.decoding import read_file
from sdd_jax.images.preprocess import resize
from sdd_jax.runs import faces, setup
from sdd_jax.runs.asked_names import path_of
from sdd_jax.runs.verify_images import MIN_SCORE
from sdd_jax.types import ImageSet

NOBODY = -1  # the label of an image that is none of the data


@dataclasses.dataclass(frozen=True)
class PairImage:
    """One image of a pair."""

    file: str  # as it was asked for
    sha256: str
    sha256_of: str  # "file", or "aligned pixels" where the data name it
    image: UInt8[np.ndarray, "size size 3"]
    label: int  # whose it is in the data, or NOBODY
    measures: dict[str, float | None]  # see `quality`; None is not measured
    num_faces: int | None  # in the photograph


def of_file(name: str, config: Mapping[str, Any]) -> PairImage | None:
    """Return the image in a file, as the data's own files are made into images.

    None where there is no file of that name.

    Args:
        name: a path.
        config: of which `data`, `verify.align` and `explain_pair.largest` are used.

    Raises:
        InputError: it is no image, or there is no face in it, several, or a small one.
    """
    path = path_of(name)
    if path is None or path.is_dir():
        return None
    size = setup.source_arguments(config)["image_size"]
    contents = read_file(path)
    sha256 = hashlib.sha256(contents).hexdigest()
    if not config["verify"]["align"]:
        made = image_maker(config["data"]).image(str(path), contents)
        image = resize(made, size)
        measures = measured(image, None)
        return PairImage(name, sha256, "file", image, NOBODY, measures, None)
    image, row = faces.found(
        contents,
        str(path),
        load_mtcnn(),
        size=size,
        largest=config["explain_pair"]["largest"],
        min_score=MIN_SCORE,
    )
    measures = measured(image, np.array(row["landmarks"]))
    if row["num_faces"] > 1:
        screen.say(f"{path}: the largest of {row['num_faces']} faces is taken")
    return PairImage(name, sha256, "file", image, NOBODY, measures, row["num_faces"])


def of_data(
    name: str, images: ImageSet, landmarks: Mapping[str, Any]
) -> PairImage | None:
    """Return an image of the data by the name that they give it; None of no image.

    Args:
        name: such as s1/7.pgm.
        images: the data.
        landmarks: of their images, from `known_landmarks`.
    """
    if name not in images.files:
        return None
    place = images.files.index(name)
    image = images.read(place)
    sha256 = hashlib.sha256(image.tobytes()).hexdigest()
    measures = measured(image, landmarks.get(name))
    label = int(images.labels[place])
    return PairImage(name, sha256, "aligned pixels", image, label, measures, None)


def known_landmarks(
    config: Mapping[str, Any], workdir: Path
) -> dict[str, Float[np.ndarray, "5 2"]]:
    """Return the five points of the data's images, by name, in their own pixels.

    There are none where the data came aligned.
    """
    path = workdir / "aligned" / "alignment.jsonl"
    if not (config["verify"]["align"] and path.is_file()):
        return {}
    factor = faces.ENLARGED if config["data"]["source"] == "orl" else 1
    rows = aligned_folder.recorded(path, landmarks=True)
    return {row["path"]: faces.in_own_pixels(row["landmarks"], factor) for row in rows}


def measured(
    image: UInt8[np.ndarray, "size size 3"], landmarks: Float[np.ndarray, "5 2"] | None
) -> dict[str, float | None]:
    """Return an image's measures of quality; those of the pose need landmarks."""
    names = ("eye_distance", "roll", "yaw", "pitch")
    none: dict[str, float | None] = dict.fromkeys(names)
    found = none if landmarks is None else quality.pose(landmarks)
    return {**found, "sharpness": quality.sharpness(image)}
