"""Which files of a FaceScrub folder show whom, and which of them to take.

Where a download has both photographs (images/) and faces cut from them (faces/), only
one kind is taken, or the same face would come twice.
"""

import collections
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sdd_jax.errors import InputError
from sdd_jax.images import decoding
from sdd_jax.images.sources.facescrub_lists import Face, with_files
from sdd_jax.images.sources.folder import KINDS
from sdd_jax.images.sources.listing import Files
from sdd_jax.images.splitting.identities import loose, merged, tidy

OTHER_KIND = "faces and the photographs they were cut from: one kind is taken"
WHERE = "http://vintage.winklerbros.net/facescrub.html"

# Aaron_Eckhart_12.jpg, where all lie in one folder
_BEFORE_NUMBERS = re.compile(r"(.*[^\d_\- ])[_\- ]\d+(?:[_\-]\d+)?", re.DOTALL)


class People(NamedTuple):
    """Who is in a folder."""

    names: dict[Path, str]  # whom each image file shows, "" where nobody can say
    absent: dict[str, str]  # folders without an image of somebody who has none: whose
    notes: list[str]  # says whose name was written in several ways


def people(root: Path, files: Files, listed: Sequence[Face] = ()) -> People:
    """Return whom each image file below a folder shows.

    A name is written as the lists have it, else as most of the files.

    Args:
        root: The folder.
        files: What lies in it.
        listed: The faces of the lists in it.

    Raises:
        InputError: There is no image.
    """
    if not files.images and listed:
        raise InputError(
            f"{root} holds FaceScrub's lists, of {len(listed):,} faces, but no "
            f"images; expected the photographs beside them, in ROOT/<name>/<file>: "
            f"get them from {WHERE}"
        )
    if not files.images:
        raise InputError(
            f"{root}: no images found; expected FaceScrub in ROOT/<name>/<file>, in "
            f"any nesting, with or without its lists: get it from {WHERE}"
        )
    found = {root / file: _written_name(Path(file)) for file in files.images}
    name_of, notes = merged(
        filter(None, found.values()),
        same=loose,
        written=tidy,
        preferred=[face.name for face in listed],
    )
    have = {loose(name) for name in name_of}
    # What holds folders, such as part_1, is named after nobody.
    outer = {folder.rpartition("/")[0] for folder in files.folders}
    absent = {}
    for folder in set(files.folders) - outer:
        name = _written_name(Path(folder, "1"))
        if name and loose(name) not in have:
            absent[folder] = tidy(name)
    return People(
        {path: name_of.get(name, "") for path, name in found.items()},
        dict(sorted(absent.items())),
        notes,
    )


def identity_of(path: Path, root: Path) -> str:
    """Return whom the nearest folder is named after, else the file, else nobody: ""."""
    return tidy(_written_name(path.relative_to(root)))


def _written_name(file: Path) -> str:
    """Return the name as the folder or the file has it."""
    own = _BEFORE_NUMBERS.fullmatch(file.stem)
    for text in (*file.parts[-2::-1], *(own.groups() if own else ())):
        name = tidy(text)
        if name and name.casefold() not in KINDS:
            return text
    return ""


def crops(files: Mapping[Path, str], root: Path) -> dict[Path, str]:
    """Return the files that are faces, not the photographs they were cut from.

    Whoever has photographs alone keeps them.
    """
    own = collections.defaultdict(dict)
    for path, name in files.items():
        own[loose(name)][path] = name
    kept = [_without("images", "faces", some, root) for some in own.values()]
    taken = {path for some in kept for path in some}
    return {path: name for path, name in files.items() if path in taken}


def photographs(
    files: Mapping[Path, str], listed: Sequence[Face], root: Path
) -> dict[Path, Face | None]:
    """Return each photograph with its face, None where no list has it.

    Empty where the files are not the lists' photographs but made from them, such as
    aligned faces. One with a list's SHA-256, among the first fifty that have one, is
    proof that they are; where no SHA-256 is listed, the lists are there to be used.
    """
    own = _without("faces", "images", files, root)
    faces = with_files(listed, own)
    hashed = [(path, face) for path, face in faces.items() if face.sha256]
    is_published = not hashed or any(
        _sha256(path) == face.sha256 for path, face in hashed[:50]
    )
    if not faces or not is_published:
        return {}
    return {path: faces.get(path) for path in own}


def _sha256(path: Path) -> str:
    """Return a file's SHA-256, or "" where it cannot be read, as is said later."""
    try:
        return hashlib.sha256(decoding.read_file(path)).hexdigest()
    except InputError:
        return ""


def _without(
    kind: str, other: str, files: Mapping[Path, str], root: Path
) -> dict[Path, str]:
    """Return the files that are in no folder of a kind, if some are in the other."""
    kinds = {
        path: {part.lower() for part in path.relative_to(root).parts} for path in files
    }
    if not any(other in own for own in kinds.values()):
        return dict(files)
    return {path: name for path, name in files.items() if kind not in kinds[path]}
