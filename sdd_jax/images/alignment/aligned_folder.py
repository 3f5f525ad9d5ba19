"""The folder that aligned faces are written to: names, records, and going on.

Paths are relative and with slashes, in the records as well. Nothing here knows what a
face is.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.files import exists, line_of, parsed, read_text, write_bytes, write_json
from sdd_jax.images.sources.listing import Files, files_in, none_found, visible
from sdd_jax.images.splitting.identities import exact

Row = dict[str, Any]


def images(source: Path, output: Path) -> Files:
    """Return every image below a folder, and what else lies there.

    Raises:
        InputError: There is none, or one folder lies in the other.
    """
    if source.is_file():
        raise InputError(
            f"{source} is a file; expected a folder, give the one that it lies in"
        )
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; expected images in it")
    here, there = source.resolve(), output.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise InputError(
            f"SOURCE {source} and OUTPUT {output} lie in one another; expected two "
            "folders apart, choose another OUTPUT"
        )
    files = files_in(source)
    if not files.images:
        raise InputError(f"{source}: no images found; expected {none_found(files)}")
    return files


def names(paths: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return what each image's crop is called; no two are the same.

    Args:
        paths: The images, in an order that does not change.
        given: The names of those that have one already.
    """
    # Some file systems take upper and lower case for the same, and both of Unicode's
    # forms. A folder may be called as an image is.
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    taken = {_same(name) for name in folders.union(given.values())}
    found = dict(given)
    for path in paths:
        if path in given:
            continue
        name = str(PurePosixPath(path).with_suffix(".png"))
        if _same(name) in taken:
            name = f"{path}.png"
        while _same(name) in taken:
            name += ".png"
        taken.add(_same(name))
        found[path] = name
    return found


def _same(name: str) -> str:
    return exact(exact(name).casefold())


def begin(
    output: Path, options: Mapping[str, Any], earlier: Mapping[str, Any] | None = None
) -> None:
    """Make the folder, or go on with one that was begun with the same options.

    Args:
        output: The folder.
        options: What the crops depend on.
        earlier: What those were that an earlier version did not write down.

    Raises:
        InputError: The folder is something else's, or was begun with other options.
    """
    path = output / "options.json"
    if not path.exists():
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file; expected a folder, choose another")
        if output.is_dir() and visible(output):
            raise InputError(
                f"{output} is not empty and holds no options.json; expected a new "
                "folder or one to go on with, choose another OUTPUT"
            )
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(options))
    try:
        before = {**(earlier or {}), **parsed(read_text(path))}
        changed = [
            f"{name}={before[name]} and not {value}"
            for name, value in options.items()
            if before[name] != value
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; choose another OUTPUT") from error
    if changed:
        raise InputError(
            f"{output} was begun with {', '.join(changed)}: give the same again, or "
            "choose another OUTPUT"
        )


def resume(path: Path) -> list[Row]:
    """Return the rows of a record, without those whose crop is gone.

    The record is left without them, and without a last line that was torn when the run
    was stopped.

    Raises:
        InputError: Another line is damaged.
    """
    text = read_text(path) if path.exists() else ""
    rows = [
        row
        for row in _rows(path, text)
        if "reason" in row or exists(path.parent / row["output"])
    ]
    whole = "".join(line_of(row) for row in rows)
    if whole != text:
        write_bytes(path, whole.encode())
    return rows


def recorded(path: Path, *, landmarks: bool = False) -> list[Row]:
    """Return the rows of a record that is finished.

    Args:
        path: The record.
        landmarks: Whether each row must have the five points of a face.

    Raises:
        InputError: A line is damaged.
    """
    text = read_text(path)
    return _rows(path, text if text.endswith("\n") else text + "\n", landmarks)


def _rows(path: Path, text: str, landmarks: bool = False) -> list[Row]:
    """Return what the lines hold that have an end."""
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            row = parsed(line)
            named = row["path"], row["reason" if "reason" in row else "output"]
            if not all(isinstance(name, str) for name in named):
                raise ValueError
            if landmarks:
                points = np.array(row["landmarks"], np.float64)
                if points.shape != (5, 2) or not np.isfinite(points).all():
                    raise ValueError
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"{path} is damaged in line {number}; expected what was written there, "
                "remove that line and its image is done again"
            ) from error
        rows.append(row)
    return rows


def sha256(path: Path | None) -> str | None:
    """Return what tells one file's contents from another's."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def save(crop: UInt8[np.ndarray, "size size 3"], path: Path, number: int) -> None:
    """Write a crop, whole or not at all.

    Args:
        crop: The pixels.
        path: Where to.
        number: Tells apart what is written at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent / f".{number}-new"
    try:
        Image.fromarray(crop).save(fresh, "PNG")
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
