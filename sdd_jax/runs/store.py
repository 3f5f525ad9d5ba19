"""Finished results on disk, each by what it depends on: whole, or not there.

A key is anything JSON can say; its hash names the file. What a killed or a smaller run
has finished, a later one takes from here.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files
from sdd_jax.errors import InputError
from sdd_jax.screen import say

_KEY = "key"  # the array that says what a file is


def load(folder: Path, key: Any) -> dict[str, np.ndarray] | None:
    """Return the arrays of a key, or None where they are not there.

    A damaged file is named on the screen, and counts as not there. Of several
    processes, the first one looks.
    """
    path = _path(folder, key)
    found = _read(path, key) if distributed.is_first() else None
    if not distributed.from_first("a result", lambda: found is not None):
        return None
    if not distributed.is_first():
        found = _read(path, key)
    if found is None:
        raise InputError(
            f"{distributed.name_of(0)} finds {path}, and this process does not: put "
            f"the --workdir on a disk that all of them share"
        )
    return found


def _read(path: Path, key: Any) -> dict[str, np.ndarray] | None:
    try:
        # A zip file: every array with its checksum.
        with path.open("rb") as file, np.load(file) as found:
            arrays = {name: found[name] for name in found.files}
        if files.parsed(str(arrays.pop(_KEY))) != json.loads(json.dumps(key)):
            raise ValueError("another key")
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and NumPy answer damage with any.
        say(f"{path} is damaged ({error}): its result is computed again")
        return None
    return arrays


def save(folder: Path, key: Any, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of a key, on process 0; on return they are on disk."""
    if not distributed.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    files.write_arrays(_path(folder, key), arrays | {_KEY: np.array(json.dumps(key))})


def kept(
    folder: Path, key: Any, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the arrays of a key from disk, or compute them and keep them there."""
    found = load(folder, key)
    if found is None:
        found = compute()
        save(folder, key, found)
    return found


def keep_only(folder: Path) -> None:
    """Remove the folders beside this one: results of other checkpoints."""
    if not distributed.is_first():
        return
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _path(folder: Path, key: Any) -> Path:
    return folder / f"{files.json_sha256(key)[:32]}.npz"
