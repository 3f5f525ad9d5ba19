"""Images -> train, validation and test sets, recorded so that they stay the same.

Every image is read once before anything is trained: damaged ones are left out and
named, the same bytes twice count once, and what is almost the same image in the test
and in the training set is reported. With a folder to record it in, this leaves

    split.jsonl            split, identity, file and fingerprint of every image
    skipped.jsonl          path and reason of every file that was left out, and of
                           every folder of somebody without any image
    near_duplicates.jsonl  test file, training file, and how many of 64 bits differ

and the next call takes the images from there: the same ones, in the same splits, each
checked against its fingerprint when it is read.
"""

import collections
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sdd_jax import checks, files
from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.splitting.collection import (
    Collection,
    Row,
    SourceImage,
    fingerprint,
)
from sdd_jax.images.splitting.scanning import (
    check_enough,
    near_duplicates,
    say_left_out,
    scan,
)
from sdd_jax.screen import first_of, say
from sdd_jax.types import ImageSet

SPLITS = ("train", "validation", "test")


def splits_of(
    collection: Collection,
    *,
    image_size: int,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    max_skipped: float = 0.05,
    record: Path | None = None,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets, each identity split by itself.

    An identity's split depends on its own name, its files' names and the seed, so
    adding somebody moves nobody else's images. One test and one training image of
    each are certain; the validation share of few images may round to none.

    Args:
        collection: All there is, its images in any order.
        image_size: Height and width to resize to, in pixels.
        seed: Of the split.
        validation_fraction: Share of an identity's images.
        test_fraction: Share of an identity's images.
        max_skipped: The largest share of the images that may be left out as damaged.
        record: A folder to write the split to, or to take it from.

    Raises:
        InputError: The shares leave nothing to train on, too many files are damaged,
            there are not two identities to tell apart, or a recorded split does not fit
            any more.
    """
    checks.require(image_size, checks.whole(1), "image_size")
    checks.require(seed, checks.SEED, "seed")
    checks.require(max_skipped, checks.real(0, 1), "max_skipped")
    if not (0 < test_fraction and 0 <= validation_fraction) or (
        test_fraction + validation_fraction >= 1
    ):
        raise InputError(
            f"test_fraction={test_fraction}, validation_fraction={validation_fraction}:"
            " expected shares of at least 0 that leave images to train on, and"
            " test_fraction above 0"
        )
    path = record / "split.jsonl" if record else None
    if path and path.exists():
        rows = _read_rows(path)
    else:
        found = scan(collection.images)
        if record:  # for whoever mends the images, also if too few are left
            record.mkdir(parents=True, exist_ok=True)
            left_out = [*found.skipped, *collection.others]
            files.write_rows(record / "skipped.jsonl", left_out)
        listed = f", see {record / 'skipped.jsonl'}" if record else ""
        say_left_out(
            collection,
            kept={row["identity"] for row in found.good},
            lacking="two different good images",
            listed=listed,
        )
        check_enough(found, max_skipped, listed)
        rows = _assigned(found.good, seed, validation_fraction, test_fraction)
        near = near_duplicates(rows, found.hashes)
        if record:
            files.write_rows(record / "near_duplicates.jsonl", near)
            files.write_rows(record / "split.jsonl", rows)  # last: it says all is there
        _report(rows, found.skipped, near, record)
    check_leakage(rows, path)
    return _image_sets(rows, collection.images, image_size, path)


def _assigned(
    rows: Sequence[Row], seed: int, validation_fraction: float, test_fraction: float
) -> list[Row]:
    """Return the rows, each with its split in front."""
    own = collections.defaultdict(list)
    for row in rows:
        own[row["identity"]].append(row)
    assigned = []
    for name, rows in own.items():
        num_test = min(max(round(test_fraction * len(rows)), 1), len(rows) - 1)
        num_rest = len(rows) - num_test
        num_validation = min(round(validation_fraction * len(rows)), num_rest - 1)
        order = np.random.default_rng(
            [seed, *name.encode("utf-8", "surrogateescape")]
        ).permutation(len(rows))
        split_of = {}
        for rank, place in enumerate(order):
            later = (rank >= num_test) + (rank >= num_test + num_validation)
            split_of[int(place)] = ("test", "validation", "train")[later]
        assigned += [{"split": split_of[i]} | row for i, row in enumerate(rows)]
    return assigned


def check_leakage(rows: Iterable[Row], path: Path | None = None) -> None:
    """Raise InputError where the same image is in two splits."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row["sha256"], row)
        if other["split"] != row["split"]:
            raise InputError(
                f"{path or 'the split'}: {other['file']} ({other['split']}) and "
                f"{row['file']} ({row['split']}) are the same image; expected each "
                "in one split, remove one of the two lines or take another --workdir"
            )


def _report(
    rows: Sequence[Row],
    skipped: Sequence[Row],
    near: Sequence[Any],
    record: Path | None,
) -> None:
    """Say what was left out, where there is anything to say."""
    where = f", see {record / 'skipped.jsonl'}" if record else ""
    if skipped:
        say(f"images left out: {len(skipped)} of {len(skipped) + len(rows)}{where}")
    if near:
        num_test = sum(row["split"] == "test" for row in rows)
        where = f", see {record / 'near_duplicates.jsonl'}" if record else ""
        say(
            f"test images that look like a training image: {len(near)} of "
            f"{num_test}{where}"
        )


def _image_sets(
    rows: Sequence[Row], images: Sequence[SourceImage], size: int, path: Path | None
) -> dict[str, ImageSet]:
    """Return the sets of a split."""
    known = {image.file: image for image in images}
    missing = [row["file"] for row in rows if row["file"] not in known]
    if missing:
        raise InputError(
            f"{path} names {len(missing)} images that are not there any more "
            f"({first_of(missing)}): put "
            "them back, or take another --workdir"
        )
    names = tuple(sorted({row["identity"] for row in rows}))
    return {
        split: image_set_of(
            [row for row in rows if row["split"] == split], images, size, names
        )
        for split in SPLITS
    }


def image_set_of(
    rows: Sequence[Row],
    images: Sequence[SourceImage],
    size: int,
    names: tuple[str, ...] | None = None,
) -> ImageSet:
    """Return the set of some images, in the rows' order.

    Args:
        rows: identity, file and fingerprint of each.
        images: All there are.
        size: Height and width to resize to, in pixels.
        names: The people whom labels count; those of the rows, in order, where None.
    """
    known = {image.file: image for image in images}
    if names is None:
        names = tuple(sorted({row["identity"] for row in rows}))
    label_of = {name: label for label, name in enumerate(names)}
    chosen = [(known[row["file"]], row["sha256"]) for row in rows]
    return ImageSet(
        names=names,
        files=tuple(row["file"] for row in rows),
        labels=np.array([label_of[row["identity"]] for row in rows], np.int32),
        read=functools.partial(_read, chosen, size),
    )


def _read(
    chosen: Sequence[tuple[SourceImage, str]], size: int, index: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Return one image, resized; it must be what it was when it was recorded."""
    image, sha256 = chosen[index]
    contents = image.contents()
    if fingerprint(image, contents) != sha256:
        raise InputError(
            f"{image.file} has changed since the images were split: put the "
            "recorded file back, or take another --workdir"
        )
    return preprocess.resize(image.pixels(contents), size)


def _read_rows(path: Path) -> list[Row]:
    try:
        rows = files.rows_of(files.read_text(path))
        if not rows or not all(
            row["split"] in SPLITS
            and all(isinstance(row[x], str) for x in ("identity", "file", "sha256"))
            and len(row["sha256"]) == 64
            for row in rows
        ):
            raise ValueError("a line is not as it was written")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): expected a line with split, identity, file "
            "and sha256 for each image, take another --workdir"
        ) from error
    return rows
