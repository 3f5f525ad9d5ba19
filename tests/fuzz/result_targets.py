"""Results that a run keeps on disk, and computes again where they are damaged."""

import tempfile
from pathlib import Path

import numpy as np
from target import Target

from sdd_jax.runs import store

_ARRAYS = {"a": np.arange(50.0), "b": np.ones((3, 4), np.float32)}


def _file(folder: Path) -> Path:
    """Return the one file of kept results."""
    if not any(folder.glob("*.npz")):
        store.save(folder, "key", _ARRAYS)
    [path] = folder.glob("*.npz")
    return path


def _seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        return [_file(Path(scratch)).read_bytes()]


def read_kept(contents: bytes, folder: Path) -> None:
    """Load results whose file is another."""
    _file(folder).write_bytes(contents)
    store.load(folder, "key")


TARGETS = (Target("kept results", _seeds, read_kept),)
