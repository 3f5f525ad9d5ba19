"""A prepared set, as `python -m sdd_jax.images.prepare` makes it: pixels, not files.

Uint8 RGB squares, read one by one at random places from one file, without decoding.
Each record carries a checksum, and so do `index.jsonl` and `manifest.json`. A set of
larger images than the network takes is resized; one of smaller images is refused,
because what preparing left out cannot be put back.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import UInt8

from sdd_jax.errors import InputError
from sdd_jax.files import expanded, json_sha256, parsed, read_text, rows_of
from sdd_jax.images import preprocess
from sdd_jax.images.sources import facescrub, folder, lfw
from sdd_jax.images.splitting.collection import Collection, Maker, SourceImage
from sdd_jax.images.splitting.identities import with_one_form
from sdd_jax.images.splitting.splits import splits_of
from sdd_jax.types import ImageSet

IMAGES, INDEX, MANIFEST = "images.array_record", "index.jsonl", "manifest.json"
_NAMES = ("identity", "file")  # what a line of the index must have
# What a set can be made from: what lists all images of a root, `images`, and makes
# an image of any file, `maker`.
SOURCES: dict[str, Any] = {"folder": folder, "facescrub": facescrub, "lfw": lfw}
_EARLIER = "num_pictures"  # a key that manifests of earlier versions have
_MAKE = "make it with python -m sdd_jax.images.prepare"


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    root: str,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    max_skipped: float = 0.05,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; see `splits.splits_of`.

    Raises:
        InputError: There is no whole prepared set, or its images are too small.
    """
    folder = expanded(root)
    size = _read_manifest(folder)["size"]
    if size < image_size:
        raise InputError(
            f"{folder} holds images of {size} x {size}, but the network takes "
            f"{image_size} x {image_size}: {_MAKE} ... --size={image_size}"
        )
    return splits_of(
        images(folder),
        image_size=image_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_skipped=max_skipped,
        record=record,
    )


def maker(*, root: str, **_: Any) -> Maker:
    """Return how an image is made of any file: as the set was made, and as large.

    Raises:
        InputError: There is no prepared set, or nobody knows the source it is made of.
    """
    folder = expanded(root)
    manifest = _read_manifest(folder)
    if manifest["source"] not in SOURCES:
        raise InputError(
            f"{folder} was made from the source {manifest['source']!r}, expected one "
            f"of {', '.join(SOURCES)}: name images of the data, or {_MAKE}"
        )
    source = SOURCES[manifest["source"]].maker(
        root=manifest["root"], **manifest["options"]
    )

    def image(name: str, contents: bytes) -> UInt8[np.ndarray, "side side 3"]:
        return preprocess.resize(source.image(name, contents), manifest["size"])

    return dataclasses.replace(source, image=image)


def images(root: Path) -> Collection:
    """Return every image of a prepared set.

    Raises:
        InputError: There is none, or its files do not belong together.
    """
    manifest = _read_manifest(root)
    try:
        index = (root / INDEX).read_bytes()
        source = _source(root / IMAGES)
    except (OSError, RuntimeError) as error:
        reason = str(error).split(";")[0]
        raise InputError(
            f"{root} is damaged ({reason}): remove it and {_MAKE}"
        ) from error
    if hashlib.sha256(index).hexdigest() != manifest["index_sha256"]:
        raise InputError(
            f"{root / INDEX} is not as it was written: remove {root} and {_MAKE}"
        )
    try:
        rows = rows_of(index.decode("utf-8", "surrogateescape"))
        if not all(isinstance(row[x], str) for row in rows for x in _NAMES):
            raise ValueError("a line is not as it was written")
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{root / INDEX} is damaged ({error}): remove {root} and {_MAKE}"
        ) from error
    if len(rows) != len(source):
        raise InputError(
            f"{root / IMAGES} has {len(source)} images, but {INDEX} {len(rows)}: "
            f"remove {root} and {_MAKE}"
        )
    return with_one_form(
        [
            SourceImage(
                row["identity"],
                row["file"],
                partial(_record, source, place, f"{root}: {row['file']}"),
                partial(_image, manifest["size"], f"{root}: {row['file']}"),
            )
            for place, row in enumerate(rows)
        ]
    )


@dataclasses.dataclass
class _WholeFile:
    """A file to read records from, in the form array_record asks for."""

    filename: Any  # text or bytes
    skip: int
    take: int
    examples_in_shard: int


def _source(path: Path) -> ArrayRecordDataSource:
    # The package takes a path that is no text as bytes only, and of a path it would
    # take [brackets] with numbers for a part of the file.
    name = os.fsencode(path)
    reader = ArrayRecordReader(name)
    num_records = reader.num_records()
    reader.close()
    return ArrayRecordDataSource(_WholeFile(name, 0, num_records, num_records))


def with_checksum(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the SHA-256 of its other values."""
    values = {name: value for name, value in manifest.items() if name != "sha256"}
    return values | {"sha256": json_sha256(values)}


def _read_manifest(root: Path) -> dict:
    path = root / MANIFEST
    try:
        manifest = parsed(read_text(path))
        if manifest.get(_EARLIER) is not None:
            raise InputError(
                f"{root} was prepared by an earlier version: remove it and {_MAKE}"
            )
        if manifest != with_checksum(manifest):
            raise ValueError("it is not as it was written")
        if manifest["size"] < 1 or len(manifest["index_sha256"]) != 64:
            raise ValueError("a value is not as it was written")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected a prepared set, {_MAKE}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): remove {root} and {_MAKE}"
        ) from error
    return manifest


def _record(source: ArrayRecordDataSource, place: int, name: str) -> bytes:
    """Return an image's bytes; the name is for the errors."""
    try:
        return source[place]
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        raise InputError(
            f"{name}: cannot be read ({reason}); remove the set and {_MAKE}"
        ) from error


def _image(size: int, name: str, contents: bytes) -> UInt8[np.ndarray, "side side 3"]:
    """Return an image's pixels; the name is for the errors."""
    if len(contents) != size * size * 3:
        raise InputError(
            f"{name}: {len(contents)} bytes, expected {size} x {size} x 3; remove the "
            f"set and {_MAKE}"
        )
    image = np.frombuffer(contents, np.uint8).reshape(size, size, 3)
    return preprocess.not_flat(image, name)
