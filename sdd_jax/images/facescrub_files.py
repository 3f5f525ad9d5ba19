"""Which files of a FaceScrub folder show whom, and which of them to take.

Where a download has both photographs (images/) and faces cut from them (faces/), only
one kind is taken, or the same face would come twice.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.facescrub_lists import Face, with_files
from sdd_jax.images.folder import SUFFIXES

WHERE = "http://vintage.winklerbros.net/facescrub.html"
# Folders that say what is in them, not who.
_KINDS = frozenset(
    "actor actors actress actresses aligned crop cropped crops data download downloads "
    "face faces facescrub female females image images img male males original "
    "photographs photos raw test train uncropped val validation".split()
)

# Aaron_Eckhart_12.jpg, where all lie in one folder
_BEFORE_NUMBERS = re.compile(r"(.*[^\d_\- ])[_\- ]\d+(?:[_\-]\d+)?")


def people(root: Path, listed: Sequence[Face] = ()) -> dict[Path, str]:
    """Return whom each picture file below a folder shows, "" where nobody can say.

    Links are followed, but not in circles.

    Args:
        root: The folder.
        listed: The faces of the lists in it.

    Raises:
        InputError: There is no picture.
    """
    found: dict[Path, str] = {}
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                found[path] = identity_of(path, root)
    if not found and listed:
        raise InputError(
            f"{root} holds FaceScrub's lists, of {len(listed):,} faces, but no "
            f"pictures; expected the photographs beside them, in ROOT/<name>/<file>: "
            f"get them from {WHERE}"
        )
    if not found:
        raise InputError(
            f"{root}: no pictures found; expected FaceScrub in ROOT/<name>/<file>, in "
            f"any nesting, with or without its lists: get it from {WHERE}"
        )
    return found


def identity_of(path: Path, root: Path) -> str:
    """Return whom the nearest folder is named after, else the file, else nobody: ""."""
    own = _BEFORE_NUMBERS.fullmatch(path.stem)
    folders = path.relative_to(root).parts[-2::-1]
    for text in (*folders, *(own.groups() if own else ())):
        name = " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split())
        if name.casefold() not in _KINDS:
            return name
    return ""


def crops(files: Mapping[Path, str], root: Path) -> dict[Path, str]:
    """Return the files that are faces, not the photographs they were cut from."""
    return _without("images", "faces", files, root)


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
        hashlib.sha256(preprocess.read_file(path)).hexdigest() == face.sha256
        for path, face in hashed[:50]
    )
    if not faces or not is_published:
        return {}
    return {path: faces.get(path) for path in own}


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
