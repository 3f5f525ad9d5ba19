"""FaceScrub's published lists: a line a face, in columns between tabs.

    name  image_id  face_id  url  bbox  sha256

`bbox` is "left,top,right,bottom" in pixels of the photograph at `url`; `sha256` is of
the photograph's bytes and may be missing. A first line with the columns' names is left
out.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdd_jax.checks import MOST
from sdd_jax.errors import InputError
from sdd_jax.files import read_text
from sdd_jax.images.sources.listing import Files, files_in
from sdd_jax.images.splitting.identities import loose, tidy

_HEADER = ("name", "image_id", "face_id", "url", "bbox")
# aaron_eckhart_12_34.jpeg or 12.jpg; a name such as "50 Cent" has a letter behind.
_NUMBERS = re.compile(r"(?:^|[_\- ])(\d+)(?:[_\-](\d+))?\Z")


@dataclasses.dataclass(frozen=True)
class Face:
    """A line of a list."""

    name: str
    image_id: int
    face_id: int
    box: tuple[int, int, int, int]  # left, top, right, bottom
    sha256: str  # lower case; "" where the list has none


def read_lists(root: Path) -> list[Face]:
    """Return the faces of all lists below a folder; see `lists_in`.

    Raises:
        InputError: There is no such folder, or a line of a list is damaged.
    """
    check_root(root)
    return [face for faces in lists_in(root, files_in(root)).values() for face in faces]


def check_root(root: Path) -> None:
    """Raise InputError where there is no such folder."""
    if root.is_file():
        raise InputError(
            f"{root} is a file; expected the folder of FaceScrub's images, correct "
            f"the root"
        )
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; expected FaceScrub's images, correct the root"
        )


def lists_in(root: Path, files: Files) -> dict[str, list[Face]]:
    """Return the faces of each list, by its path below the root.

    Any other text file, one whose first line has no five columns, is passed over.

    Args:
        root: A folder.
        files: What lies in it.

    Raises:
        InputError: A line of a list is damaged.
    """
    paths = [row["path"] for row in files.others if row["path"].endswith(".txt")]
    faces = {path: _read_list(root / path) for path in paths}
    return {path: own for path, own in faces.items() if own}


def _read_list(path: Path) -> list[Face]:
    try:
        text = read_text(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected a readable list"
        ) from error
    # Not `splitlines`: it also ends a line at characters that a name may hold.
    rows = [tuple(line.split("\t")) for line in re.split("\r\n|\n|\r", text)]
    if not rows or len(rows[0]) not in (5, 6):
        return []
    first = rows[0][:5] == _HEADER
    return [
        _face(path, number, row)
        for number, row in enumerate(rows[first:], 1 + first)
        if any(row)
    ]


def _face(path: Path, number: int, row: Sequence[str]) -> Face:
    try:
        name, image_id, face_id, _, box, *rest = (cell.strip() for cell in row)
        left, top, right, bottom = (int(side) for side in box.split(","))
        [sha256] = rest or [""]
        if not name or not re.fullmatch("([0-9a-f]{64})?", sha256.lower()):
            raise ValueError
        if max(map(abs, (left, top, right, bottom))) > MOST:
            raise ValueError
        return Face(
            name=tidy(name),
            image_id=int(image_id),
            face_id=int(face_id),
            box=(left, top, right, bottom),
            sha256=sha256.lower(),
        )
    except ValueError:
        raise InputError(
            f"{path}, line {number}: expected name, image_id, face_id, url, bbox "
            f"(left,top,right,bottom) and sha256 between tabs, found "
            f"{ascii(' '.join(row))[:80]}; get the list again"
        ) from None


def with_files(listed: Sequence[Face], files: Mapping[Path, str]) -> dict[Path, Face]:
    """Return the face of each photograph that a list has.

    A file is known by whose folder it is in and by the number at the end of its name:
    image_id, or image_id and face_id. Trees that number by face_id alone are known by
    most files having such a line.

    Args:
        listed: The lists' faces.
        files: Each file's identity.
    """
    by_image = {(loose(face.name), face.image_id): face for face in listed[::-1]}
    by_face = {(loose(face.name), face.face_id): face for face in listed[::-1]}
    alone: dict[Path, tuple[str, int]] = {}  # by one number
    faces: dict[Path, Face] = {}
    for path, name in files.items():
        found = _NUMBERS.search(path.stem)
        if found is None:
            continue
        one, two = found.groups()
        if two is None:
            alone[path] = (loose(name), int(one))
        elif (loose(name), int(two)) in by_face:
            faces[path] = by_face[loose(name), int(two)]
    num_by_image = sum(key in by_image for key in alone.values())
    num_by_face = sum(key in by_face for key in alone.values())
    # Of equals, the published script's.
    chosen = by_image if num_by_image >= num_by_face else by_face
    return faces | {path: chosen[key] for path, key in alone.items() if key in chosen}
