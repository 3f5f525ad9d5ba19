"""FaceScrub as people hold it, as uint8 RGB squares.

Either folders, `<name>/<file>` in any nesting (actors/, actresses/, faces/, images/,
spaces or underscores in the names), of which the middle square is taken. Or the
downloaded photographs with the published lists, facescrub_actors.txt and
facescrub_actresses.txt, anywhere below the same root: then each face is cut out by the
list's box, and a photograph of other bytes than the list's SHA-256 is left out. Where a
download has both photographs (images/) and faces cut from them (faces/), only one kind
is taken, or the same face would be in two splits. Faces are not detected or aligned:
`sdd_jax.images.align` does that, and its output is the first kind.

References:
    Ng, Winkler. A data-driven approach to cleaning large face datasets. ICIP 2014.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from jaxtyping import UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import decoding, formats, preprocess
from sdd_jax.images.sources import facescrub_files
from sdd_jax.images.sources.facescrub_lists import Face, check_root, lists_in
from sdd_jax.images.sources.folder import image_of
from sdd_jax.images.sources.listing import Files, files_in
from sdd_jax.images.splitting.collection import (
    NO_IMAGES,
    Collection,
    Maker,
    SourceImage,
    finder,
)
from sdd_jax.images.splitting.identities import loose
from sdd_jax.images.splitting.splits import splits_of
from sdd_jax.screen import say
from sdd_jax.types import ImageSet

WHERE = facescrub_files.WHERE
NUM_IDENTITIES = 530
MARGIN = 0.1
MARGINS = checks.real(0, 10)


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    root: str,
    margin: float = MARGIN,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.042,
    max_skipped: float = 0.05,
    num_identities: int = NUM_IDENTITIES,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; see `splits.splits_of`.

    Args:
        image_size: Height and width to resize to, in pixels.
        seed: Of the split.
        record: A folder to write the split to, or to take it from.
        root: Where the folders are, and the lists if there are any.
        margin: What is added around a list's box, as a share of its longer side.
        validation_fraction: Share of an identity's images.
        test_fraction: Share of an identity's images; 0.042 of all the 106,863 are
            the paper's 4,494.
        max_skipped: The largest share of the files that may be left out as damaged.
        num_identities: Fewer than these are reported, with the missing names.

    Raises:
        InputError: There are no images, or they cannot be split.
    """
    found, listed = _found(expanded(root), margin)
    sets = splits_of(
        found,
        image_size=image_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_skipped=max_skipped,
        record=record,
    )
    _report_missing(sets["train"].names, listed, num_identities)
    return sets


def maker(*, root: str, margin: float = MARGIN, **_: Any) -> Maker:
    """Return how this source makes an image of any file.

    Of a photograph below the root that a list has, whatever the split, it is the face;
    of any other file the middle square.
    """
    folder = expanded(root)
    if not folder.exists():  # A prepared set outlives the files that it was made from.
        return Maker(preprocess.middle, folder, lambda path: False)
    photographs = _listing(folder).photographs
    if not photographs:
        return Maker(preprocess.middle, folder)
    faces = {
        path.relative_to(folder).as_posix(): face
        for path, face in photographs.items()
        if face
    }
    find = finder(folder, faces)

    def image(name: str, contents: bytes) -> np.ndarray:
        file = find(Path(name))
        if file is None:
            return preprocess.middle(name, contents)
        return _cut_out(Path(name), faces[file], margin, contents)

    return Maker(image, folder, lambda path: find(path) is not None)


class _Listing(NamedTuple):
    """What lies below a root."""

    files: Files
    lists: dict[str, list[Face]]  # by their paths
    people: facescrub_files.People
    photographs: dict[Path, Face | None]


def _listing(root: Path) -> _Listing:
    files = files_in(root)
    lists = lists_in(root, files)
    people = facescrub_files.people(root, files, _faces_of(lists))
    photographs = facescrub_files.photographs(people.names, _faces_of(lists), root)
    return _Listing(files, lists, people, photographs)


def _faces_of(lists: Mapping[str, list[Face]]) -> list[Face]:
    return [face for faces in lists.values() for face in faces]


def images(root: Path, *, margin: float = MARGIN) -> Collection:
    """Return every image below a folder, or every face of the lists in it.

    Raises:
        InputError: There is no such folder, no image in it, a damaged list, or no
            such margin.
    """
    return _found(root, margin)[0]


def _found(root: Path, margin: float) -> tuple[Collection, list[Face]]:
    """Return the images, and the faces of the lists."""
    if margin not in MARGINS:
        raise InputError(
            f"margin={margin:g}: expected a share of the box from 0 to {MARGINS.high}"
        )
    check_root(root)
    files, lists, (names, absent, notes), photographs = _listing(root)
    if photographs:
        found = [
            _face_in(path, names[path], root, face, margin)
            for path, face in photographs.items()
        ]
    else:
        crops = facescrub_files.crops(names, root)
        found = [_whole(path, name, root) for path, name in crops.items()]
    taken = {image.file for image in found}
    gone = set(names.values()) - {image.identity for image in found}
    others = [row for row in files.others if row["path"] not in lists]
    others += [{"path": folder, "reason": NO_IMAGES} for folder in absent]
    others += [
        {"path": file, "reason": facescrub_files.OTHER_KIND}
        for file in files.images
        if file not in taken
    ]
    people = [*absent.values(), *gone]
    return Collection(found, others, people, notes), _faces_of(lists)


def _whole(path: Path, name: str, root: Path) -> SourceImage:
    """Return an image that is a face; one of nobody is a damaged one."""
    file = path.relative_to(root).as_posix()
    if name:
        return image_of(path, identity=name, file=file)
    return SourceImage(name, file, bytes, partial(_refuse, path))


def _refuse(path: Path, contents: bytes) -> NoReturn:
    raise InputError(f"{path}: no folder is named after somebody, nor is the file")


def _face_in(
    path: Path, name: str, root: Path, face: Face | None, margin: float
) -> SourceImage:
    """Return the face that a list has in a photograph."""
    return SourceImage(
        identity=name,
        file=path.relative_to(root).as_posix(),
        contents=partial(decoding.read_file, path),
        pixels=partial(_cut_out, path, face, margin),
        detail=f"{face.box} {margin}" if face else "",
    )


def _cut_out(
    path: Path, face: Face | None, margin: float, contents: bytes
) -> UInt8[np.ndarray, "side side 3"]:
    image, box = photograph_and_box(path, face, contents)
    square = preprocess.square_box(image, box, margin=margin, name=str(path))
    return preprocess.checked(square, str(path), of=image)


def photograph_and_box(
    path: Path, face: Face | None, contents: bytes
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[int, int, int, int]]:
    """Return a photograph and where its listed face is: left, top, right, bottom.

    Raises:
        InputError: No list has it, its bytes are not the list's, or it is damaged.
    """
    formats.check(str(path), contents)
    if face is None:
        raise InputError(f"{path}: no list has it; expected a line with its face's box")
    sha256 = hashlib.sha256(contents).hexdigest()
    if face.sha256 and sha256 != face.sha256:
        raise InputError(
            f"{path}: its SHA-256 is {sha256[:8]}..., the list says "
            f"{face.sha256[:8]}...: it is another image or was saved again"
        )
    return decoding.decode_with_box(contents, face.box, str(path))


def _report_missing(
    names: Iterable[str], listed: Sequence[Face], num_identities: int
) -> None:
    """Say where there are fewer people than FaceScrub has, and who is missing."""
    have = {loose(name) for name in names}
    if len(have) >= num_identities:
        return
    missing = sorted({face.name for face in listed if loose(face.name) not in have})
    who = f"missing: {', '.join(missing)}"
    if not missing:
        who = "its lists, put beside the images, would tell who is missing"
    say(f"warning: {len(have)} identities, FaceScrub has {num_identities}; {who}")
