"""Which images a person asked to have explained."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.images import image_maker, pipeline
from sdd_jax.images.decoding import read_file
from sdd_jax.images.preprocess import resize
from sdd_jax.images.sources import listing
from sdd_jax.images.splitting.collection import Maker, finder
from sdd_jax.runs.asked_names import names_in, path_of
from sdd_jax.screen import first_of, say
from sdd_jax.types import ImageSet

UNKNOWN = -1  # the label of an image whose identity nobody told
Place = tuple[str, int]  # a split, and an image's index in it


class _Asked(NamedTuple):
    """An image to explain."""

    key: Any  # equal for the same image asked for in two ways
    file: str  # as it was asked for
    label: int
    read: Callable[[], np.ndarray]


def chosen(
    options: Mapping[str, Any], splits: Mapping[str, ImageSet], data: Mapping[str, Any]
) -> tuple[ImageSet, list[dict[str, str]]]:
    """Return the images of the config's `explain` section, and what was left out.

    A file is made into an image as the data's own files are; one that is an image of
    the data is that image, with its label. A damaged image in a folder is left out,
    as its path and the reason; one that was asked for by name is an error.

    Args:
        options: images (files, folders and names of images in the data, separated by
            commas; empty for some of a split), split, num_images (0 for all).
        splits: the data.
        data: the config's section that they were made from.

    Raises:
        InputError: something asked for does not exist or cannot be read.
    """
    if options["images"]:
        return _asked_for(options["images"], splits, data)
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
            f"{setting} is {name!r}, which has no images: expected one of "
            f"{', '.join(name for name, split in splits.items() if len(split))}"
        )
    return splits[name]


def _asked_for(
    wanted: str, splits: Mapping[str, ImageSet], data: Mapping[str, Any]
) -> tuple[ImageSet, list[dict[str, str]]]:
    """Return files, the files of folders, and images of the data, as one set."""
    named = {
        file: (split, index)
        for split, images in splits.items()
        for index, file in enumerate(images.files)
    }
    example = next(iter(splits.values()))
    size = example.read(0).shape[0]
    asked: dict[Any, _Asked] = {}
    skipped: list[dict[str, str]] = []
    others: list[dict[str, str]] = []  # files of folders that are no images
    again: list[str] = []

    @functools.cache  # for files alone: listing the data again may take a while
    def maker() -> Maker:
        return image_maker(data)

    @functools.cache
    def own() -> Callable[[Path], str | None]:
        root = maker().root
        return finder(root, named) if root else lambda path: None

    def add(one: _Asked) -> None:
        if one.key in asked:
            again.append(one.file)
        asked.setdefault(one.key, one)

    def add_place(file: str, place: Place) -> None:
        split, index = splits[place[0]], place[1]
        add(_Asked(place, file, int(split.labels[index]), lambda: split.read(index)))

    def add_file(path: Path) -> None:
        def read() -> np.ndarray:
            return resize(maker().image(str(path), read_file(path)), size)

        name = own()(path)
        if name is None:
            read()  # now, not after an hour
            add(_Asked(path.parent.resolve() / path.name, str(path), UNKNOWN, read))
            return
        image_set, index = splits[named[name][0]], named[name][1]
        if not np.array_equal(image_set.read(index), read()):
            raise InputError(
                f"{path} is not any more what the data were made from: put the file "
                f"back, make the data again, or name the image {name}"
            )
        add_place(str(path), named[name])

    for name in names_in(wanted, named, example.files[0]):
        path = path_of(name)
        if path is None:
            add_place(name, named[name])
            continue
        own()  # so that what is wrong with the data is no file's fault
        files, no_images = _files_in(path)
        others += no_images
        for file in files:
            try:
                add_file(file)
            except InputError as error:
                if not path.is_dir():
                    raise
                skipped.append({"path": str(file), "reason": str(error)})
    if not asked and skipped:
        raise InputError(
            f"none of {len(skipped)} images can be read; the first: "
            f"{skipped[0]['reason']}"
        )
    if not asked:
        raise InputError(
            f"explain.images is {wanted!r}, which names no image: expected "
            f"files, folders or names of images, separated by commas"
        )
    found = list(asked.values())
    if again:
        say(
            f"images asked for more than once, explained once: {len(again)} "
            f"({first_of(again)})"
        )
    foreign = [one.file for one in found if one.label == UNKNOWN]
    if foreign and (has_box := maker().has_box):
        foreign = [file for file in foreign if not has_box(Path(file))]
        if foreign:
            say(
                f"no listed box, so their middle square is taken: {len(foreign)} "
                f"({first_of(foreign)})"
            )
    return ImageSet(
        example.names,
        tuple(one.file for one in found),
        np.array([one.label for one in found], np.int32),
        lambda index: found[index].read(),
    ), skipped + others


def _files_in(path: Path) -> tuple[list[Path], list[dict[str, str]]]:
    """Return what training would take from a folder, and what it would leave out."""
    if not path.is_dir():
        return [path], []
    files = listing.files_in(path)
    if not files.images:
        raise InputError(
            f"{path} holds no images: expected {listing.none_found(files)}"
        )
    others = [row | {"path": str(path / row["path"])} for row in files.others]
    return [path / file for file in files.images], others
