"""Where mode explain writes: a folder of the workdir, named after what was asked."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdd_jax.errors import InputError

# What the other modes write. A result of theirs would later take the place of this one.
_TAKEN = ("checkpoints", "eval", "tensorboard")
_LONGEST = 60  # of a name that is taken as it is


def chosen(options: Mapping[str, Any], workdir: Path) -> Path:
    """Return the folder for the config's `explain` section; nothing is written.

    It is `explain` for images of a split and `explain_NAME` for images that were asked
    for, so that one does not replace the other. A name that had to be changed to be a
    folder's ends in a part of its hash: no two share a folder.

    Args:
        options: output (a folder's name; "" for the usual one), images.
        workdir: the folder's parent.

    Raises:
        InputError: `explain.output` is no name, or belongs to something else.
    """
    output = options.get("output", "")
    name = output or _named_after(options["images"].strip())
    if output and (output != _plain(output) or output.lower() in _TAKEN):
        raise InputError(
            f"explain.output is {output!r}, expected the name of a folder in the "
            f"workdir, of letters, digits, - _ and dots inside, at most {_LONGEST} "
            f"characters, and none of {', '.join(_TAKEN)}"
        )
    folder = workdir / name
    is_explanation = all(
        (folder / file).is_file() for file in ("manifest.json", "index.html")
    )
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_explanation and not is_empty:
        raise InputError(
            f"{folder} is there and holds no explanation, so it is not replaced: "
            f"choose another --config.explain.output, or remove it"
        )
    return folder


def _named_after(images: str) -> str:
    if not images:
        return "explain"
    plain = _plain(images)
    if plain == images:
        return f"explain_{plain}"
    digest = hashlib.sha256(images.encode("utf-8", "surrogateescape")).hexdigest()
    return f"explain_{plain}_{digest[:8]}"


def _plain(name: str) -> str:
    """Return what a folder may be called on any file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_LONGEST]
