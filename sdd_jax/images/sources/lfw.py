"""Labeled Faces in the Wild: 13,233 images of 5,749 people, 250 x 250, and its pairs.

G. Huang, M. Ramesh, T. Berg and E. Learned-Miller, "Labeled Faces in the Wild", Univ.
of Massachusetts TR 07-49, 2007. Read from a folder in the published layout,
ROOT/Ann_Example/Ann_Example_0001.jpg (original, funneled and deep-funneled alike), or
from TFDS's set "lfw"; neither is shipped or downloaded.

The box of LFW's face detector was enlarged 2.2 times on publication, so the face is the
middle 0.45 of an image, give or take. The middle half of both sides is cut out:
the box and a little hair and chin. Nothing is aligned; for images that are aligned
and cut already, `crop=1.0` takes all of the square.
"""

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import preprocess
from sdd_jax.images.sources import folder, tfds
from sdd_jax.images.splitting.collection import Collection, Maker
from sdd_jax.images.splitting.identities import exact
from sdd_jax.images.splitting.splits import splits_of
from sdd_jax.types import ImageSet

CROP = 0.5


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images to compare, and whether they are of one person."""

    first: str  # "Ann_Example/Ann_Example_0001.jpg"
    second: str
    is_same: bool
    fold: int  # from 0; the published ten are for cross-validation


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    root: str = "",
    data_dir: str | None = None,
    crop: float = CROP,
    min_images: int = 20,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    max_skipped: float = 0.05,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; see `splits.splits_of`.

    Args:
        image_size: Height and width to resize to, in pixels.
        seed: Of the split.
        record: A folder to write the split to, or to take it from.
        root: The folder of the published images; "" reads TFDS's "lfw" instead.
        data_dir: Where TFDS's prepared sets lie; its own folder if None.
        crop: Share of the middle square's side that is kept.
        min_images: People with fewer images are left out. With 20, 62 people and
            3,023 images stay, and four or more of each are for the test.
        validation_fraction: Share of a person's images.
        test_fraction: Share of a person's images.
        max_skipped: The largest share of the files that may be damaged.

    Raises:
        InputError: LFW is not there, or the options leave nobody to tell apart.
    """
    _check_crop(crop)
    if root and data_dir:
        raise InputError(
            f"data.root={root} and data.data_dir={data_dir}: expected the published "
            "folder or TFDS's, leave one of them empty"
        )
    if root:
        found = images(expanded(root), crop=crop)
    else:
        found = tfds.images("lfw", data_dir=data_dir, pixels=partial(_face, crop))
    return splits_of(
        tfds.with_enough(found, min_images),
        image_size=image_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_skipped=max_skipped,
        record=record,
    )


def maker(*, root: str = "", crop: float = CROP, **_: Any) -> Maker:
    """Return how this source makes an image of any file: of the middle's middle."""
    return Maker(partial(_face, crop), expanded(root) if root else None)


def images(root: Path, *, crop: float = CROP) -> Collection:
    """Return every image of a folder in the published layout.

    Raises:
        InputError: There is no such folder, or an image in it is not called so, or
            there is no such share.
    """
    _check_crop(crop)
    found = folder.images(root)
    for image in found.images:
        name = re.escape(image.identity)
        if not re.fullmatch(rf"{name}/{name}_\d{{4}}\.\w+", exact(image.file)):
            raise InputError(
                f"{root / image.file} is not called as LFW's images are: expected "
                "ROOT/Ann_Example/Ann_Example_0001.jpg, or take data.source=folder"
            )
    faces = [
        dataclasses.replace(image, pixels=partial(_face, crop, str(root / image.file)))
        for image in found.images
    ]
    return found._replace(images=faces)


def middle(
    image: UInt8[np.ndarray, "height width 3"], share: float
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the middle of the middle square, `share` of its side long."""
    square = preprocess.square_crop(image)
    side = max(1, round(share * len(square)))
    edge = (len(square) - side) // 2
    return square[edge : edge + side, edge : edge + side]


def pairs(path: Path) -> list[Pair]:
    """Return the pairs of pairs.txt, pairsDevTrain.txt or pairsDevTest.txt.

    The first line has the number of folds, if there are any, and the number n of pairs
    of a kind. Each fold is n lines "name i j", then n lines "name i other j".

    Raises:
        InputError: A line is not as it should be; the message has its number.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}; expected LFW's pairs.txt") from error
    header = lines[0].split()
    if len(header) not in (1, 2) or not all(map(_is_number, header)):
        raise InputError(
            f"{path}, line 1: {lines[0]!r}; expected the numbers of folds and of pairs,"
            " such as 10 300, or of pairs alone: take LFW's own file"
        )
    num_pairs = int(header[-1])
    num_folds = int(header[0]) if len(header) == 2 else 1
    expected = 1 + 2 * num_folds * num_pairs
    if len(lines) != expected:
        raise InputError(
            f"{path}: {len(lines)} lines, but the first asks for {expected}: take "
            "LFW's own file"
        )
    found = []
    for place, line in enumerate(lines[1:]):
        fold, place_in_fold = divmod(place, 2 * num_pairs)
        pair = _pair(line.split(), place_in_fold < num_pairs, fold)
        if pair is None:
            layout = "name i j" if place_in_fold < num_pairs else "name i other j"
            raise InputError(
                f"{path}, line {place + 2}: {line!r}; expected {layout} for two "
                "images: take LFW's own file"
            )
        found.append(pair)
    return found


def _pair(fields: list[str], is_same: bool, fold: int) -> Pair | None:
    """Return a line's pair, or None where the line does not name one."""
    if len(fields) != (3 if is_same else 4):
        return None
    name, first, *others, second = fields
    other = others[0] if others else name
    if not _is_number(first) or not _is_number(second):
        return None
    if (other == name) != is_same or (is_same and int(first) == int(second)):
        return None
    return Pair(_file(name, first), _file(other, second), is_same, fold)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch("0*[1-9][0-9]{0,8}", text))


def _file(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04}.jpg"


def _check_crop(crop: float) -> None:
    if not 0 < crop <= 1:
        raise InputError(f"crop={crop:g}: expected a share above 0 and up to 1")


def _face(crop: float, name: str, contents: bytes) -> np.ndarray:
    """Return the face in a file's bytes; the name is for the errors."""
    return preprocess.face_in(contents, name, partial(middle, share=crop))
