"""A folder of pictures, ROOT/<identity>/<file>, as uint8 RGB squares.

Who is who is the name of the folder, and nothing else about a file but its suffix is
read until its picture is asked for. The middle square of each picture is resized;
faces are not detected or aligned.
"""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.types import ImageSet

SUFFIXES = frozenset(
    ".avif .bmp .gif .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)
_LAYOUT = "expected pictures in ROOT/<identity>/<file>"


def splits(
    *,
    image_size: int,
    seed: int,
    root: str,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets, each identity split by itself.

    An identity's split depends on its own name, its files' names and the seed, so
    adding somebody moves nobody else's pictures. One test and one training picture of
    each are certain; the validation share of few pictures may round to none.

    Raises:
        InputError: There are not two identities with two pictures each to tell apart.
    """
    if not (0 < test_fraction and 0 <= validation_fraction) or (
        test_fraction + validation_fraction >= 1
    ):
        raise InputError(
            f"test_fraction={test_fraction}, validation_fraction={validation_fraction}:"
            " expected shares of at least 0 that leave pictures to train on, and"
            " test_fraction above 0"
        )
    files = _files_of_identities(Path(root).expanduser())
    chosen = {"train": [], "validation": [], "test": []}
    for label, (name, own) in enumerate(files.items()):
        num_test = min(max(round(test_fraction * len(own)), 1), len(own) - 1)
        num_rest = len(own) - num_test
        num_validation = min(round(validation_fraction * len(own)), num_rest - 1)
        order = np.random.default_rng([seed, *name.encode()]).permutation(len(own))
        parts = np.split(order, [num_test, num_test + num_validation])
        for split, part in zip(("test", "validation", "train"), parts, strict=True):
            chosen[split] += [(label, own[place]) for place in sorted(part)]
    return {
        split: _image_set(tuple(files), pictures, image_size)
        for split, pictures in chosen.items()
    }


def _files_of_identities(root: Path) -> dict[str, list[Path]]:
    """Return each identity's pictures, both sorted by name."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {_LAYOUT}, correct the root")
    folders = sorted(path for path in _visible(root) if path.is_dir())
    files = {
        folder.name: sorted(
            path for path in _visible(folder) if path.suffix.lower() in SUFFIXES
        )
        for folder in folders
    }
    if not any(files.values()):
        raise InputError(
            f"{root}: no pictures found; {_LAYOUT}, with a suffix of "
            + " ".join(sorted(SUFFIXES))
        )
    if len(files) == 1:
        raise InputError(
            f"{root}: {next(iter(files))} is the only identity; expected two or more, "
            "for there is nobody to tell it from"
        )
    too_few = [name for name, own in files.items() if len(own) < 2]
    if too_few:
        more = ", ..." if len(too_few) > 3 else ""
        raise InputError(
            f"{root}: {len(too_few)} identities have fewer than two pictures "
            f"({', '.join(too_few[:3])}{more}); expected one to train on and one to "
            "test, add pictures or remove the folders"
        )
    return files


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; expected a readable folder"
        ) from error


def _image_set(
    names: tuple[str, ...], pictures: list[tuple[int, Path]], image_size: int
) -> ImageSet:
    """Return the set of these (label, path) pairs."""
    paths = tuple(path for _, path in pictures)
    return ImageSet(
        names=names,
        files=tuple(f"{path.parent.name}/{path.name}" for path in paths),
        labels=np.array([label for label, _ in pictures], np.int32),
        read=functools.partial(_read, paths, image_size),
    )


def _read(
    paths: tuple[Path, ...], image_size: int, index: int
) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    """Return one picture, cropped and resized."""
    image = preprocess.square_crop(preprocess.decode(paths[index]))
    return preprocess.resize(image, image_size)
