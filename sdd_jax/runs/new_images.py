"""Which images of a folder are to be enrolled, and their faces, each by its bytes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sdd_jax import screen
from sdd_jax.errors import InputError
from sdd_jax.images import decoding
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.splitting.collection import Collection, SourceImage
from sdd_jax.runs import faces
from sdd_jax.verification.gallery_files import Row


class NewImage(NamedTuple):
    """An image that the gallery has not."""

    name: str
    file: str
    sha256: str
    contents: Callable[[], bytes]


def unknown(
    collection: Collection, known: Sequence[Row]
) -> tuple[list[NewImage], list[dict[str, str]]]:
    """Return the images that are not enrolled, each once, and those not readable.

    Raises:
        InputError: an image is of two people.
    """

    def look(image: SourceImage) -> NewImage | dict[str, str]:
        try:
            sha256 = hashlib.sha256(image.contents()).hexdigest()
        except InputError as error:
            return {"path": image.file, "reason": str(error)}
        return NewImage(image.identity, image.file, sha256, image.contents)

    ordered = sorted(collection.images, key=lambda image: (image.identity, image.file))
    owners = {row["sha256"]: (row["name"], row["file"]) for row in known}
    enrolled = set(owners)
    new, skipped, copies = [], [], []
    for one in screen.in_threads(look, ordered, "reading every image once"):
        if not isinstance(one, NewImage):
            skipped.append(one)
            continue
        name, file = owners.setdefault(one.sha256, (one.name, one.file))
        if name != one.name and (reason := _damage(one)):
            skipped.append({"path": one.file, "reason": reason})
            continue
        if name != one.name:
            where = " in the gallery" if one.sha256 in enrolled else ""
            raise InputError(
                f"{one.file} of {one.name} and {file} of {name}{where} are the same "
                f"image, expected one person's: remove it where it does not belong"
            )
        if one.sha256 not in enrolled and file == one.file:
            new.append(one)
        elif file != one.file:
            copies.append(f"{one.file} is {file}")
    if copies:
        screen.say(
            f"the same image again, counted once: {len(copies)} "
            f"({screen.first_of(copies)})"
        )
    return new, skipped


def _damage(one: NewImage) -> str:
    """Return why an image cannot be read: empty files are many people's."""
    try:
        decoding.decode(one.contents(), one.file)
    except InputError as error:
        return str(error)
    return ""


def with_faces(
    new: Sequence[NewImage], work: Path, make: faces.Maker
) -> tuple[list[NewImage], list[dict[str, str]]]:
    """Return the images whose faces now lie in `work`, and the others."""

    def look(number: int) -> str:
        one = new[number]
        path = face_file(work, one)
        if path.exists():
            return ""
        try:
            face = make(one.contents(), one.file)
        except InputError as error:
            return str(error)
        aligned_folder.save(face, path, number)
        return ""

    reasons = screen.in_threads(look, range(len(new)), "finding faces")
    pairs = list(zip(new, reasons, strict=True))
    skipped = [{"path": one.file, "reason": reason} for one, reason in pairs if reason]
    return [one for one, reason in pairs if not reason], skipped


def face_file(work: Path, one: NewImage) -> Path:
    """Return where the face of an image is kept."""
    return work / "faces" / f"{one.sha256}.png"
