"""Decode every image once and keep its pixels, so that training need not.

    python -m sdd_jax.images.prepare ROOT OUTPUT --source=folder --size=112

OUTPUT is a new folder, which the data source "prepared" reads. It appears once all of
this is in it, or not at all:

    images.array_record    a record each: uint8 RGB [size, size, 3], row by row
    index.jsonl            identity, file and sha256 of the image, in the same order
    skipped.jsonl          path and reason of every file that was left out
    manifest.json          size, counts, what it was made from and how, checksums

An image is squared, and aligned or not, as its source does it with its options, then
resized. `sha256` is the fingerprint of what it was made from. Nothing is split and
copies stay in: that is done when the set is read, with the seed and the shares of the
config.
"""

import argparse
import contextlib
import hashlib
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from sdd_jax import cli, files
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import preprocess
from sdd_jax.images.sources.prepared import (
    IMAGES,
    INDEX,
    MANIFEST,
    SOURCES,
    with_checksum,
)
from sdd_jax.images.splitting.collection import SourceImage, fingerprint
from sdd_jax.images.splitting.scanning import say_left_out
from sdd_jax.screen import progress, say

# Options of the sources: keywords of their `images`, and flags.
_OPTIONS = {
    "crop": "lfw: the share of the middle square's side to keep; 0.5 by default, 1 for "
    "images that are cut to the face already",
    "margin": "facescrub's photographs: what to add around a listed box, as a share of "
    "its longer side; 0.1 by default",
}
# One image a record, so that any is read alone. Compression would save 8 % of the
# disk and make reading 2.5 times slower (faces of 112 x 112, Zstandard's level 1).
_WRITER = "group_size:1,uncompressed"
_AT_ONCE = 256  # Decoded and not written yet: 10 MB of 112 x 112.


def main(arguments: list[str] | None = None) -> int:
    """Prepare a set and say what became of it; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sdd_jax.images.prepare",
        description="Decode every image once, for data.source=prepared.",
    )
    parser.add_argument("root", type=Path, help="where the source's images lie")
    parser.add_argument("output", type=Path, help="the folder to make")
    parser.add_argument("--source", choices=tuple(SOURCES), default="folder")
    for name, text in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=float, help=text)
    parser.add_argument("--size", type=int, default=112, help="pixels; 112 by default")
    parser.add_argument(
        "--max-skipped",
        type=float,
        default=0.05,
        help="the largest share that may be left out as damaged; 0.05 by default",
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        given = {name: getattr(options, name) for name in _OPTIONS}
        manifest = prepare(
            expanded(options.root),
            expanded(options.output),
            source=options.source,
            size=options.size,
            max_skipped=options.max_skipped,
            options={name: x for name, x in given.items() if x is not None},
        )
        say(
            f"images prepared: {manifest['num_images']} of "
            f"{manifest['num_identities']} identities, left out: "
            f"{manifest['num_skipped']}, {options.output}"
        )

    return cli.run(
        work,
        stopped=f"stopped; {options.output} was not made, run the same command again",
        way_out="make room, or choose another OUTPUT",
    )


def prepare(
    root: Path,
    output: Path,
    *,
    source: str,
    size: int,
    max_skipped: float = 0.05,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a prepared set; return its manifest.

    Args:
        root: Where the source's images lie.
        output: The folder to make; there must be none yet.
        source: A name in `prepared.SOURCES`.
        size: Height and width of the images, in pixels.
        max_skipped: The largest share of the files that may be left out as damaged.
        options: The source's own, such as lfw's `crop`; its defaults for the others.

    Raises:
        InputError: An option is out of its range or not the source's, the output exists
            or cannot be written, there are no images, or too many are damaged.
    """
    if size < 1:
        raise InputError(f"size={size}: expected at least 1 pixel, such as --size=112")
    if not 0 <= max_skipped <= 1:
        raise InputError(f"--max-skipped={max_skipped:g}: expected a share from 0 to 1")
    if output.exists():
        raise InputError(
            f"{output} is already there: expected a folder to make, remove it or "
            "choose another"
        )
    options = _with_defaults(source, options or {})
    listed = SOURCES[source].images(root, **options)
    images = sorted(listed.images, key=lambda image: (image.identity, image.file))
    beside = output.with_name(f".{output.name}.lock")
    with files.lock(beside, of=output), _new_folder(output) as fresh:
        rows, skipped = _write_images(fresh / IMAGES, images, size, max_skipped)
        files.write_rows(fresh / INDEX, rows)
        files.write_rows(fresh / "skipped.jsonl", [*skipped, *listed.others])
        say_left_out(
            listed,
            kept={row["identity"] for row in rows},
            lacking="a good image",
            listed=f", see {output / 'skipped.jsonl'}",
        )
        values = {
            "size": size,
            "num_images": len(rows),
            "num_identities": len({row["identity"] for row in rows}),
            "num_skipped": len(skipped),
            "source": source,
            "options": options,
            "root": str(root.absolute()),
            "max_skipped": max_skipped,
            "index_sha256": hashlib.sha256((fresh / INDEX).read_bytes()).hexdigest(),
        }
        manifest = with_checksum(values)
        files.write_json(fresh / MANIFEST, manifest)
    return manifest


def _with_defaults(source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a source; InputError where one is not the source's."""
    _, *parameters = inspect.signature(SOURCES[source].images).parameters.values()
    known = {parameter.name: parameter.default for parameter in parameters}
    for name in given:
        if name not in known:
            takes = ", ".join(f"--{own}" for own in known) or "none of its own"
            raise InputError(
                f"--{name} is no option of --source={source}, which takes {takes}: "
                "leave it out"
            )
    return known | dict(given)


def _write_images(
    path: Path, images: Sequence[SourceImage], size: int, max_skipped: float
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Write a record for each good image; return the index and what was left out."""
    rows, skipped = [], []
    with _writer(path) as write:
        for image, result in _decoded(images, size):
            if isinstance(result, str):
                skipped.append({"path": image.file, "reason": result})
                # Now, and not after an hour.
                if len(skipped) > max_skipped * len(images):
                    raise InputError(
                        f"{len(skipped)} of {len(images)} images or more cannot be "
                        f"read, more than --max-skipped={max_skipped:g} allows; the "
                        f"first: {skipped[0]['reason']}; mend or remove them, or raise "
                        "--max-skipped"
                    )
                continue
            sha256, pixels = result
            write(pixels)
            row = {"identity": image.identity, "file": image.file}
            rows.append(row | {"sha256": sha256})
    return rows, skipped


def _decoded(
    images: Sequence[SourceImage], size: int
) -> Iterator[tuple[SourceImage, tuple[str, bytes] | str]]:
    """Yield each image with its fingerprint and pixels, or what is wrong with it."""
    numbers = progress(
        range(len(images)), "decoding every image once", total=len(images)
    )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results: list[tuple[str, bytes] | str] = []
        for number in numbers:
            place = number % _AT_ONCE
            if place == 0:
                some = images[number : number + _AT_ONCE]
                results = list(pool.map(partial(_decode, size=size), some))
            yield images[number], results[place]


def _decode(image: SourceImage, size: int) -> tuple[str, bytes] | str:
    try:
        contents = image.contents()
        pixels = preprocess.resize(image.pixels(contents), size)
    except InputError as error:
        return str(error)
    return fingerprint(image, contents), pixels.tobytes()


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Give what writes a record; the file is whole when the context ends."""
    # As bytes, since a path may be no text.
    writer = ArrayRecordWriter(os.fsencode(path), _WRITER)
    try:
        yield writer.write
        writer.close()
    except RuntimeError as error:  # such as a full disk
        reason = str(error).split(";")[0]
        raise InputError(
            f"cannot write {path}: {reason}; make room, or choose another OUTPUT"
        ) from error


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `output` once all is in it.

    Not `files.replaced_folder`: what somebody put there meanwhile is never replaced.
    """
    fresh = output.with_name(f".{output.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        os.replace(fresh, output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
