"""Every image of a source read once: which are good, which are not and why.

Damaged ones are left out and named, the same bytes twice count once, and whoever has
but one good image is left out: nobody could be both trained on and tested with it.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt64
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images.splitting.collection import (
    NO_IMAGES,
    Collection,
    Row,
    SourceImage,
    fingerprint,
)
from sdd_jax.images.splitting.identities import some
from sdd_jax.screen import in_threads, say

NEAR = 3  # of 64 bits: a copy saved again differs in about so many


class Scan(NamedTuple):
    """What was found: rows of the good images, and of each kind that was left out."""

    good: list[Row]  # identity, file, sha256
    damaged: list[Row]  # path, reason; so are the next two
    copies: list[Row]
    lonely: list[Row]
    hashes: dict[str, np.uint64]  # file -> `small_hash`

    @property
    def skipped(self) -> list[Row]:
        """Return all that was left out."""
        return self.damaged + self.copies + self.lonely


def scan(images: Sequence[SourceImage], *, keep_lonely: bool = False) -> Scan:
    """Return what every image turns out to be, in order of identity and file.

    Args:
        images: All there are.
        keep_lonely: Whether somebody's only good image is good enough.
    """

    def look(image: SourceImage) -> tuple[str, np.uint64] | str:
        try:
            contents = image.contents()
            return fingerprint(image, contents), small_hash(image.pixels(contents))
        except InputError as error:
            return str(error)

    ordered = sorted(images, key=lambda image: (image.identity, image.file))
    found = in_threads(look, ordered, "reading every image once")
    rows, damaged, hashes = [], [], {}
    for image, result in zip(ordered, found, strict=True):
        if isinstance(result, str):
            damaged.append({"path": image.file, "reason": result})
            continue
        sha256, hashes[image.file] = result
        row = {"identity": image.identity, "file": image.file}
        rows.append(row | {"sha256": sha256})
    rows, copies = _without_copies(rows)
    good, lonely = (rows, []) if keep_lonely else _without_lonely(rows)
    return Scan(good, damaged, copies, lonely, hashes)


def say_left_out(
    collection: Collection, kept: Iterable[str], *, lacking: str, listed: str
) -> None:
    """Say what is no image, who is left without any, and what else there is to know.

    Args:
        collection: All there is.
        kept: The people of whom images are taken.
        lacking: What the others do not have.
        listed: Says where all are named that were left out.
    """
    for note in collection.notes:
        say(note)
    # Those who are left without any are said to be so below.
    say_others([row for row in collection.others if row["reason"] != NO_IMAGES], listed)
    everybody = {image.identity for image in collection.images}
    everybody |= set(collection.absent)
    everybody.discard("")  # nobody
    gone = sorted(everybody - set(kept))
    if gone:
        say(
            f"people left out, without {lacking}: {len(gone)} of {len(everybody)}: "
            f"{some(gone)}{listed}"
        )


def say_others(others: Iterable[Row], listed: str) -> None:
    """Say which files are left out as no images, a line for each reason."""
    by_reason = collections.defaultdict(list)
    for row in others:
        by_reason[row["reason"]].append(row["path"])
    for reason, paths in by_reason.items():
        say(f"files left out: {len(paths)} ({some(paths, 3)}): {reason}{listed}")


def check_enough(found: Scan, max_skipped: float, listed: str) -> None:
    """Raise InputError where too many images are damaged or too few are left.

    Args:
        found: What a scan found.
        max_skipped: The largest share that may be damaged.
        listed: Says where all are named that were left out.
    """
    num_images = len(found.good) + len(found.skipped)
    if len(found.damaged) > max_skipped * num_images:
        raise InputError(
            f"{len(found.damaged)} of {num_images} images cannot be read, more "
            f"than data.max_skipped={max_skipped:g} allows; the first: "
            f"{found.damaged[0]['reason']}; mend or remove them{listed}, or raise "
            "data.max_skipped"
        )
    names = sorted({row["identity"] for row in found.good})
    if len(names) < 2:
        first = f"; the first: {found.skipped[0]['path']}, " if found.skipped else ""
        reason = found.skipped[0]["reason"] if found.skipped else ""
        raise InputError(
            f"{num_images} images leave {len(names)} identities "
            f"({', '.join(names) or 'nobody'}); expected two or more with two "
            "different good images each, one to train on and one to test: add "
            f"images; {len(found.skipped)} were left out{listed}{first}{reason}"
        )


def _without_copies(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return each image once, and what was left out.

    Nobody can say whose an image is that lies under two names: none is kept of those.
    """
    same = collections.defaultdict(list)
    for row in rows:
        same[row["sha256"]].append(row)
    kept, skipped = [], []
    for first, *others in same.values():
        owners = {row["identity"] for row in (first, *others)}
        if len(owners) == 1:
            kept.append(first)
            reason = f"the same image as {first['file']}"
        else:
            others = [first, *others]
            files = ", ".join(row["file"] for row in others[:5])
            reason = f"the same image under {len(owners)} names: {files}"
        skipped += [{"path": row["file"], "reason": reason} for row in others]
    return kept, skipped


def _without_lonely(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of who has two images or more, and what was left out."""
    counts = collections.Counter(row["identity"] for row in rows)
    kept = [row for row in rows if counts[row["identity"]] > 1]
    skipped = [
        {"path": row["file"], "reason": f"the only good image of {row['identity']}"}
        for row in rows
        if counts[row["identity"]] == 1
    ]
    return kept, skipped


def small_hash(image: UInt8[np.ndarray, "height width 3"]) -> np.uint64:
    """Return 64 bits that hardly change when an image is resized or saved again.

    Each says whether one of 8 x 8 cells is darker than its right neighbour.
    """
    grey = Image.fromarray(image).convert("L")
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = cells[:, :-1] < cells[:, 1:]
    return np.packbits(bits).view(np.uint64)[0]


def near_duplicates(
    rows: Sequence[Row], hashes: Mapping[str, np.uint64]
) -> list[dict[str, Any]]:
    """Return the test images that all but equal a training image.

    Args:
        rows: split and file of every image.
        hashes: Each file's `small_hash`.
    """

    def files_and_hashes(split: str) -> tuple[list[str], UInt64[np.ndarray, " n"]]:
        files = [row["file"] for row in rows if row["split"] == split]
        return files, np.array([hashes[file] for file in files], np.uint64)

    test_files, test = files_and_hashes("test")
    train_files, train = files_and_hashes("train")
    found = []
    for file, value in zip(test_files, test, strict=True):
        differing = np.bitwise_count(train ^ value)
        nearest = int(differing.argmin())
        if differing[nearest] <= NEAR:
            found.append(
                {
                    "test": file,
                    "train": train_files[nearest],
                    "num_bits": int(differing[nearest]),
                }
            )
    return found
