"""The images that are compared: all that the data have, aligned where asked for.

Aligned faces go to `aligned/` of the workdir, as `python -m sdd_jax.images.align`
writes them: a run that was stopped goes on. They keep the names that the data's images
have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdd_jax import distributed, files, screen
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import align, pipeline
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.sources import MODULES, folder, lfw, orl
from sdd_jax.images.sources.lfw import Pair
from sdd_jax.images.splitting.whole import whole
from sdd_jax.runs import faces, setup
from sdd_jax.types import ImageSet

# Every image is known to show a face: what the detector's own last step lets pass.
MIN_SCORE = 0.7


def load_images(config: Mapping[str, Any], workdir: Path) -> ImageSet:
    """Return all images of the config's data, of all splits.

    Raises:
        InputError: there are none, or the source has no files to align.
    """
    options = setup.source_arguments(config)
    size, source = options["image_size"], config["data"]["source"]
    if config["verify"]["align"]:
        return distributed.first_then_all(
            "the aligned faces", lambda: _aligned(config, workdir, size)
        )
    root = options.get("root")
    if root and hasattr(MODULES.get(source), "images"):
        own = {name: options[name] for name in ("crop", "margin") if name in options}
        found = MODULES[source].images(expanded(root), **own)
        return whole(found, image_size=size)
    sets = [x for x in setup.load_splits(config, workdir).values() if len(x)]
    return _joined(sets)


def _joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Return the images of several sets with the same people as one, by name."""
    places = [(one, i) for one in sets for i in range(len(one))]
    places.sort(key=lambda place: (place[0].labels[place[1]], place[0].files[place[1]]))
    return ImageSet(
        names=sets[0].names,
        files=tuple(one.files[i] for one, i in places),
        labels=np.array([one.labels[i] for one, i in places], np.int32),
        read=lambda place: places[place][0].read(places[place][1]),
    )


def _aligned(config: Mapping[str, Any], workdir: Path, size: int) -> ImageSet:
    source = config["data"]["source"]
    output = workdir / "aligned"
    if source == "orl":
        photographs = workdir / "photographs"
        if not photographs.is_dir():
            with files.replaced_folder(photographs) as fresh:
                orl.write_whole(fresh, enlarged=faces.ENLARGED)
    elif source in ("folder", "lfw") and config["data"].get("root"):
        photographs = expanded(config["data"]["root"])
    else:
        raise InputError(
            f"verify.align is True, but data.source={source} has no photographs to "
            f"align: expected orl, or folder or lfw with a data.root; pass "
            f"--config.verify.align=False"
        )
    align.align(photographs, output, size=size, min_score=MIN_SCORE)
    found = whole(folder.images(output), image_size=size)
    rows = aligned_folder.recorded(output / "alignment.jsonl")
    paths = {row["output"]: row["path"] for row in rows}
    return ImageSet(
        names=found.names,
        files=tuple(paths.get(file, file) for file in found.files),
        labels=found.labels,
        read=found.read,
    )


class Listed(NamedTuple):
    """The pairs of a file, of images that are there."""

    images: ImageSet  # those that the pairs name
    first: np.ndarray  # int [pairs], places in the images
    second: np.ndarray
    folds: np.ndarray
    num_skipped: int  # pairs with an image that is not there


def listed_pairs(image_set: ImageSet, path: Path) -> Listed:
    """Return the pairs of a file in the form of LFW's pairs.txt, and their images.

    A pair with an image that is missing, damaged or without a face found in it is
    skipped, and how many are is said. What an image's file ends in makes no difference.

    Raises:
        InputError: the file is not as it should be, or no pair is left.
    """
    asked = lfw.pairs(path)
    place_of = {_stem(file): place for place, file in enumerate(image_set.files)}

    def places(pair: Pair) -> list[int | None]:
        return [place_of.get(_stem(file)) for file in (pair.first, pair.second)]

    rows = [(*places(pair), pair.fold) for pair in asked]
    kept = [row for row in rows if None not in row]
    named = {file for pair in asked for file in (pair.first, pair.second)}
    missing = sorted(file for file in named if _stem(file) not in place_of)
    if missing:
        screen.say(
            f"pairs left out: {len(rows) - len(kept)} of {len(rows)}, for want of "
            f"{len(missing)} images ({screen.first_of(missing)})"
        )
    if not kept:
        raise InputError(
            f"{path} names no pair of images that are there, of {len(rows)}: expected "
            f"names such as {image_set.files[0]}; correct data.root or verify.pairs"
        )
    table = np.array(kept, np.int64)
    used, places_of_used = np.unique(table[:, :2], return_inverse=True)
    first, second = places_of_used.reshape(-1, 2).T
    images = pipeline.subset(image_set, used.tolist())
    return Listed(images, first, second, table[:, 2], len(rows) - len(kept))


def _stem(file: str) -> str:
    return file.rpartition(".")[0] or file
