"""A folder of pictures, ROOT/<identity>/<file>, as uint8 RGB squares.

Who is who is the name of the folder, and nothing else about a file but its suffix
decides whether it is a picture. The middle square of each picture is resized; faces
are not detected or aligned.
"""

from functools import partial
from pathlib import Path
from typing import Any

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import preprocess
from sdd_jax.images.collection import Maker, Picture
from sdd_jax.images.splitting import splits_of
from sdd_jax.types import ImageSet

SUFFIXES = frozenset(
    ".avif .bmp .gif .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)
_LAYOUT = "expected pictures in ROOT/<identity>/<file>"


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    root: str,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    max_skipped: float = 0.05,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; see `splitting.splits_of`.

    Raises:
        InputError: There are not two identities with two pictures each to tell apart.
    """
    return splits_of(
        pictures(expanded(root)),
        image_size=image_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_skipped=max_skipped,
        record=record,
    )


def maker(*, root: str, **_: Any) -> Maker:
    """Return how this source makes an image of any file: of the middle square."""
    return Maker(preprocess.middle, expanded(root))


def pictures(root: Path) -> list[Picture]:
    """Return every picture below a folder's folders.

    Raises:
        InputError: There is no such folder, or no picture in it.
    """
    if root.is_file():
        raise InputError(f"{root} is a file; {_LAYOUT}, correct the root")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {_LAYOUT}, correct the root")
    found = [
        picture_of(path, identity=folder.name, file=f"{folder.name}/{path.name}")
        for folder in sorted(path for path in visible(root) if path.is_dir())
        for path in sorted(visible(folder))
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise InputError(
            f"{root}: no pictures found; {_LAYOUT}, with a suffix of "
            + " ".join(sorted(SUFFIXES))
        )
    return found


def picture_of(path: Path, *, identity: str, file: str) -> Picture:
    """Return the picture in a file, of which the middle square is taken."""
    return Picture(
        identity,
        file,
        partial(preprocess.read_file, path),
        partial(preprocess.middle, str(path)),
    )


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; expected a readable folder"
        ) from error
