"""Which pictures a person asked to have explained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.files import exists, expanded
from sdd_jax.images import listing, pipeline
from sdd_jax.images.preprocess import decode, resize
from sdd_jax.types import ImageSet

UNKNOWN = -1  # the label of a picture whose identity nobody told


def chosen(
    options: Mapping[str, Any], splits: Mapping[str, ImageSet], square: Callable
) -> tuple[ImageSet, list[dict[str, str]]]:
    """Return the pictures of the config's `explain` section, and what was left out.

    A damaged picture in a folder is left out, as its path and the reason; one that was
    asked for by name is an error.

    Args:
        options: images (files, folders and names of pictures in the data, separated by
            commas; empty for some of a split), split, num_images (0 for all).
        splits: the data.
        square: makes a picture from elsewhere square.

    Raises:
        InputError: something asked for does not exist or cannot be read.
    """
    images = options["images"]
    if images:
        # A file's own name may hold a comma.
        is_one = exists(expanded(images))
        return _asked_for([images] if is_one else images.split(","), splits, square)
    split = named_split(splits, options["split"], "explain.split")
    num_images = min(options["num_images"] or len(split), len(split))
    if num_images < 0:
        raise InputError(
            f"explain.num_images is {num_images}, expected 0 for all or more"
        )
    places = np.linspace(0, len(split) - 1, num_images).round()
    return pipeline.subset(split, [int(place) for place in places]), []


def named_split(splits: Mapping[str, ImageSet], name: str, setting: str) -> ImageSet:
    """Return a split; InputError where there is none of that name or it is empty."""
    if name not in splits or not len(splits[name]):
        raise InputError(
            f"{setting} is {name!r}, which has no pictures: expected one of "
            f"{', '.join(name for name, split in splits.items() if len(split))}"
        )
    return splits[name]


def _asked_for(
    wanted: list[str], splits: Mapping[str, ImageSet], square: Callable
) -> tuple[ImageSet, list[dict[str, str]]]:
    """Return files, the files of folders, and pictures of the data, as one set."""
    known = {
        file: (split, place)
        for split in splits.values()
        for place, file in enumerate(split.files)
    }
    example = next(iter(splits.values()))
    size = example.read(0).shape[0]
    files: list[str] = []
    labels: list[int] = []
    reads: list[Callable[[], np.ndarray]] = []
    skipped: list[dict[str, str]] = []
    others: list[dict[str, str]] = []  # files of folders that are no pictures

    def add(file: str, label: int, read: Callable[[], np.ndarray]) -> None:
        files.append(file)
        labels.append(label)
        reads.append(read)

    for name in (name.strip() for name in wanted if name.strip()):
        path = expanded(name)
        if exists(path):
            found, no_pictures = _files_in(path)
            others += no_pictures
            for file in found:
                try:
                    decode(file)
                except InputError as error:
                    if not path.is_dir():
                        raise
                    skipped.append({"path": str(file), "reason": str(error)})
                    continue
                # The file is bound now: the loop will have moved on when it is read.
                add(
                    str(file),
                    UNKNOWN,
                    lambda file=file: resize(square(decode(file)), size),
                )
        elif name in known:
            split, place = known[name]
            add(
                name,
                int(split.labels[place]),
                lambda split=split, place=place: split.read(place),
            )
        else:
            raise InputError(
                f"no picture {name}: expected a file, a folder or the name of a "
                f"picture in the data, such as {example.files[0]}"
            )
    if not files and skipped:
        raise InputError(
            f"none of {len(skipped)} pictures can be read; the first: "
            f"{skipped[0]['reason']}"
        )
    if not files:
        raise InputError(
            f"explain.images is {','.join(wanted)!r}, which names no picture: expected "
            f"files, folders or names of pictures, separated by commas"
        )
    return ImageSet(
        example.names,
        tuple(files),
        np.array(labels, np.int32),
        lambda index: reads[index](),
    ), skipped + others


def _files_in(path: Path) -> tuple[list[Path], list[dict[str, str]]]:
    """Return what training would take from a folder, and what it would leave out."""
    if not path.is_dir():
        return [path], []
    files = listing.files_in(path)
    if not files.images:
        raise InputError(
            f"{path} holds no pictures: expected {listing.none_found(files)}"
        )
    others = [row | {"path": str(path / row["path"])} for row in files.others]
    return [path / file for file in files.images], others
