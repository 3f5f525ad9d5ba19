"""What lies below a folder, walked in one way for everybody who takes images from it.

Links to files and folders are followed, and each folder is entered once: links that go
round in a circle end. What is hidden (its name begins with a dot) is left out. So are
the records that `sdd_jax.images.align` writes beside its crops.

A file is an image by its suffix or, whatever it is called, by its first bytes. Images
that cannot be read are images: whoever reads them says why. Everything else is named
with the reason why it is left out, so that no visible file vanishes.
"""

import os
from pathlib import Path
from typing import NamedTuple

from sdd_jax.errors import InputError
from sdd_jax.images import formats
from sdd_jax.images.splitting.collection import Row

NO_IMAGE = "no image, by its suffix and its first bytes"
_AGAIN = "another way to a folder that is listed already"
_LOST = "a link that leads nowhere"
_ODD = "neither a file nor a folder"
_SYSTEMS = "a folder that a system or a program keeps for itself"
# Thumbnails of a storage device, remains of a Mac's archives, bins.
_SYSTEM_FOLDERS = frozenset(
    ("@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
_RECORDS = frozenset(("alignment.jsonl", "skipped.jsonl", "options.json"))


class Files(NamedTuple):
    """What lies below a folder; paths are below it too, with slashes, in order."""

    images: list[str]
    others: list[Row]  # path and reason of what is left out
    folders: list[str]  # all that were entered but the first


def files_in(root: Path) -> Files:
    """Return what lies below a folder, at any depth.

    Raises:
        InputError: A folder cannot be read.
    """
    images, others, folders = [], [], []
    # Folders before the links to them: a person is called as the folder is.
    waiting, links, entered = [""], [], set()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        status = os.stat(root / folder)
        if (status.st_dev, status.st_ino) in entered:
            others.append({"path": folder, "reason": _AGAIN})
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.append(folder)
        for entry in visible(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not os.path.isdir(entry):
                reason = _why_no_image(entry)
                if reason:
                    others.append({"path": path, "reason": reason})
                else:
                    images.append(path)
            elif entry.name in _SYSTEM_FOLDERS:
                others.append({"path": path, "reason": _SYSTEMS})
            else:
                (links if entry.is_symlink() else waiting).append(path)
        links.sort()
    if {"alignment.jsonl", "options.json"} <= {row["path"] for row in others}:
        others = [row for row in others if row["path"] not in _RECORDS]
    others.sort(key=lambda row: row["path"])
    return Files(sorted(images), others, sorted(folders)[1:])


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; expected a readable folder, let it "
            "be read or move it elsewhere"
        ) from error


def none_found(files: Files) -> str:
    """Return what an error says where there is no image: what there is instead."""
    expected = f"files that end in {' '.join(sorted(formats.SUFFIXES))}"
    if not files.others:
        return expected
    first = files.others[0]
    return (
        f"{expected}; the first of {len(files.others)} others there is "
        f"{first['path']}: {first['reason']}"
    )


def _why_no_image(path: Path) -> str:
    """Return why a file is no image, "" for any that is, readable or not."""
    if formats.is_called_image(path.name):
        return ""
    try:
        if not path.exists():
            return _LOST
        if not path.is_file():  # and reading a pipe would never end
            return _ODD
        with path.open("rb") as file:
            return "" if formats.is_image(file.read(formats.HEAD)) else NO_IMAGE
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
