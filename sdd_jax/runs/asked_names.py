"""What the names in `explain.images` are of: files, folders, images of the data."""

from collections.abc import Container, Iterator
from pathlib import Path

from sdd_jax.errors import InputError
from sdd_jax.files import exists, expanded

_MAX_LENGTH = 4096  # of a path; what is longer is none


def names_in(
    wanted: str, named: Container[str], example: str | None = None
) -> Iterator[str]:
    """Yield each name in a list with commas, which a name may hold as well.

    A piece that is nothing by itself is joined with those after it until it is.

    Args:
        wanted: files, folders and names of images in the data.
        named: the images in the data.
        example: one of their names, for the error; None where there are none.

    Raises:
        InputError: There is no such image.
    """

    def found(name: str) -> str | None:
        """Return the name of something, with or without spaces around it."""
        for it in (name, name.strip()):
            if it.strip() and (it in named or path_of(it)):
                return it
        return None

    if name := found(wanted):
        yield name
        return
    pieces = wanted.split(",")
    first = 0
    while first < len(pieces):
        name, joined = None, ""
        for last, piece in enumerate(pieces[first:], first + 1):
            joined = f"{joined},{piece}" if last > first + 1 else piece
            name = found(joined)
            if name or len(joined) > _MAX_LENGTH:
                break
        if name:
            yield name
            first = last
            continue
        piece = pieces[first].strip()
        if piece:
            _refuse(piece, example)
        first += 1


def _refuse(name: str, example: str | None) -> None:
    if len(name) <= _MAX_LENGTH and "\0" not in name:
        expanded(name)  # which says what is wrong with ~somebody
    shown = name if len(name) <= 200 else f"{name[:200]}... ({len(name)} characters)"
    expected = "a file or a folder"
    if example is not None:
        expected = (
            f"a file, a folder or the name of an image in the data, such as {example}"
        )
    raise InputError(f"no image {shown}: expected {expected}")


def path_of(name: str) -> Path | None:
    """Return the file or folder that a name is of; None where it is of none."""
    try:
        path = expanded(name)
    except (InputError, ValueError):  # ~ and nobody, or what can be no name
        return None
    return path if exists(path) else None
