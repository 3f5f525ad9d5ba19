"""A gallery on disk: who was enrolled, by which network, and what their images gave.

    references.npy    float32 [people, dimensions], of length 1: one a person
    people.jsonl      name and num_images, in the same order, which is by name
    embeddings.npy    float32 [images, dimensions], of length 1
    images.jsonl      name, file, sha256 of the file, norm; in the same order
    skipped.jsonl     path and reason of every image that the last command left out
    manifest.json     what it was made with, counts, versions, and a SHA-256 of every
                      file above and of itself

The folder appears whole or not at all. What is read is compared with its hash. No image
is kept; embeddings and references are biometric data all the same.
"""

import dataclasses
import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdd_jax import files
from sdd_jax.errors import InputError

MANIFEST, VERSION = "manifest.json", 1
_REFERENCES, _PEOPLE = "references.npy", "people.jsonl"
_EMBEDDINGS, _IMAGES = "embeddings.npy", "images.jsonl"
_ENROL = "python -m sdd_jax.enroll IMAGES GALLERY"
_SECTIONS = ("network", "input", "alignment")
_IMAGE = {"name": str, "file": str}  # what a line of images.jsonl must have
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Enrolled people; names[i] is who references[i] is of."""

    names: tuple[str, ...]
    num_images: tuple[int, ...]  # that a reference was made of
    references: np.ndarray  # float32 [people, dimensions], of length 1
    made_with: Mapping[str, Any]  # sections of facts: network, input, alignment
    versions: Mapping[str, str]


class Enrolled(NamedTuple):
    """The images that references were made of."""

    rows: Sequence[Row]  # name, file, sha256, norm
    embeddings: np.ndarray  # float32 [images, dimensions], of length 1


def exists(folder: Path) -> bool:
    """Return whether there is anything in the folder's place, a gallery or not."""
    return folder.is_file() or folder.is_dir() and any(folder.iterdir())


def save(
    folder: Path, gallery: Gallery, enrolled: Enrolled, skipped: Sequence[Row] = ()
) -> None:
    """Write a gallery, whole or not at all; it takes the place of an earlier one."""
    people = [
        {"name": name, "num_images": number}
        for name, number in zip(gallery.names, gallery.num_images, strict=True)
    ]
    contents = {
        _REFERENCES: _array_bytes(gallery.references),
        _PEOPLE: "".join(map(files.line_of, people)).encode(),
        _EMBEDDINGS: _array_bytes(enrolled.embeddings),
        _IMAGES: "".join(map(files.line_of, enrolled.rows)).encode(),
        "skipped.jsonl": "".join(map(files.line_of, skipped)).encode(),
    }
    manifest = {
        "version": VERSION,
        "num_people": len(people),
        "num_images": len(enrolled.rows),
        "num_dimensions": gallery.references.shape[1],
        **gallery.made_with,
        "versions": gallery.versions,
        "sha256": {
            name: hashlib.sha256(content).hexdigest()
            for name, content in contents.items()
        },
    }
    manifest["manifest_sha256"] = files.json_sha256(manifest)
    with files.replaced_folder(folder) as fresh:
        for name, content in contents.items():
            files.write_bytes(fresh / name, content)
        files.write_json(fresh / MANIFEST, manifest)


def load(folder: Path) -> Gallery:
    """Return a gallery's people and references.

    Raises:
        InputError: there is none, it is damaged, or of a later version.
    """
    manifest = _manifest(folder)
    people = _rows(folder, _PEOPLE, manifest, {"name": str, "num_images": int})
    references = _array(folder, _REFERENCES, manifest)
    shape = (manifest["num_people"], manifest["num_dimensions"])
    if references.shape != shape or len(people) != len(references):
        raise _damaged(folder, _REFERENCES)
    return Gallery(
        tuple(row["name"] for row in people),
        tuple(row["num_images"] for row in people),
        references,
        {name: manifest[name] for name in _SECTIONS},
        manifest["versions"],
    )


def load_rows(folder: Path) -> Sequence[Row]:
    """Return name, file, sha256 and norm of a gallery's images; see `load_enrolled`."""
    return _rows(folder, _IMAGES, _manifest(folder), _IMAGE)


def load_enrolled(folder: Path) -> Enrolled:
    """Return a gallery's images, for whoever enrols more or looks at single ones.

    Raises:
        InputError: there is no gallery, it is damaged, or of a later version.
    """
    manifest = _manifest(folder)
    rows = _rows(folder, _IMAGES, manifest, _IMAGE)
    embeddings = _array(folder, _EMBEDDINGS, manifest)
    if embeddings.shape != (len(rows), manifest["num_dimensions"]):
        raise _damaged(folder, _EMBEDDINGS)
    return Enrolled(rows, embeddings)


def require_same(
    folder: Path, stored: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raise InputError where embeddings made with the one do not fit the other's.

    The name of a network says nothing: its weights' hash is compared.

    Args:
        folder: the gallery.
        stored: its `made_with`.
        given: what the command at hand would embed with.
    """
    plain = json.loads(json.dumps(given))
    different = []
    for section, facts in stored.items():
        for name, there in facts.items():
            here = plain[section][name]
            if there == here or name == "checkpoint" or None in (there, here):
                continue  # without alignment there is no template to differ
            if name == "checkpoint_sha256":
                there = f"of {facts['checkpoint']} ({there[:8]})"
                here = f"of {plain[section]['checkpoint']} ({here[:8]})"
                name = "the network"
            different.append(f"{name} is {there} there and {here} now")
    if different:
        raise InputError(
            f"{folder} was enrolled with something else: {'; '.join(different)}: give "
            f"the same again, or enrol into another folder"
        )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} is no gallery, it has no {MANIFEST}: expected a folder that "
            f"{_ENROL} wrote"
        )
    try:
        manifest = files.parsed(files.read_text(path))
        if manifest["version"] > VERSION:
            raise InputError(
                f"{folder} is of version {manifest['version']}, expected at most "
                f"{VERSION}: install a later sdd_jax, or enrol again"
            )
        plain = {n: x for n, x in manifest.items() if n != "manifest_sha256"}
        if files.json_sha256(plain) != manifest["manifest_sha256"]:
            raise ValueError
        for name in ("num_people", "num_dimensions"):
            _require(manifest[name], int)
        for name in (*_SECTIONS, "versions", "sha256"):
            _require(manifest[name], dict)
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(folder, MANIFEST) from error
    return manifest


def _rows(
    folder: Path, name: str, manifest: Mapping[str, Any], kinds: Mapping[str, type]
) -> list[Row]:
    _require_whole(folder, name, manifest)
    try:
        rows = files.rows_of(files.read_text(folder / name))
        for row in rows:
            for key, kind in kinds.items():
                _require(row[key], kind)
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(folder, name) from error
    return rows


def _require(value: Any, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError


def _array(folder: Path, name: str, manifest: Mapping[str, Any]) -> np.ndarray:
    _require_whole(folder, name, manifest)
    try:
        with warnings.catch_warnings(action="error"):
            # A view of the file: no size that it declares is believed.
            values = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype != np.float32:
            raise ValueError
    except OSError:
        raise
    except Exception as error:  # NumPy answers damage with any exception.
        raise _damaged(folder, name) from error
    return np.array(values)


def _require_whole(folder: Path, name: str, manifest: Mapping[str, Any]) -> None:
    try:
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise _damaged(folder, name) from error
    if found != manifest["sha256"].get(name):
        raise _damaged(folder, name)


def _damaged(folder: Path, name: str) -> InputError:
    return InputError(
        f"{folder / name} is missing or not what was written: expected the file of "
        f"{_ENROL}; put it back, or remove the folder and enrol again"
    )


def _array_bytes(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, np.float32), allow_pickle=False)
    return buffer.getvalue()
