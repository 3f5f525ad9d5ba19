"""A folder of images, ROOT/<identity>/<file>, as uint8 RGB squares.

Who is who is the name of the first folder below ROOT; deeper folders say nothing. What
is an image is told by its suffix or its first bytes, see `listing`; files in ROOT
itself are nobody's. Names in two Unicode forms are one person's; names that differ in
case, spaces or underscores stay apart, and a line says so. The middle square of each
image is resized; faces are not detected or aligned.
"""

import collections
import re
from functools import partial
from pathlib import Path
from typing import Any

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import decoding, preprocess
from sdd_jax.images.sources import listing
from sdd_jax.images.splitting import identities
from sdd_jax.images.splitting.collection import (
    NO_IMAGES,
    Collection,
    Maker,
    SourceImage,
)
from sdd_jax.images.splitting.splits import splits_of
from sdd_jax.types import ImageSet

_LAYOUT = "expected images in ROOT/<identity>/<file>"
# Folders that say what is in them, not who.
KINDS = frozenset(
    "actor actors actress actresses aligned crop cropped crops data download downloads "
    "face faces facescrub female females image images img male males original "
    "photographs photos raw test train uncropped val validation".split()
)
_MORE_KINDS = frozenset(
    "dev eval evaluation fold holdout part set split testing training valid".split()
)


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
    """Return train, validation and test sets; see `splits.splits_of`.

    Raises:
        InputError: There are not two identities with two images each to tell apart.
    """
    return splits_of(
        images(expanded(root)),
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


def images(root: Path) -> Collection:
    """Return every image below a folder's folders.

    Raises:
        InputError: There is no such folder, no image in it, or its folders are those
            of splits or kinds and not of people.
    """
    if root.is_file():
        raise InputError(f"{root} is a file; {_LAYOUT}, correct the root")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {_LAYOUT}, correct the root")
    files = listing.files_in(root)
    owned = [file for file in files.images if "/" in file]
    if not owned:
        beside = f"; {len(files.images)} lie in ROOT itself" if files.images else ""
        raise InputError(
            f"{root}: no images found{beside}; {_LAYOUT}, {listing.none_found(files)}"
        )
    _check_level(root, owned)
    found = identities.with_one_form(
        [image_of(root / file, identity=_first(file), file=file) for file in owned]
    )
    people = {image.identity for image in found.images}
    absent = [
        folder
        for folder in files.folders
        if "/" not in folder and identities.exact(folder) not in people
    ]
    deep = [file for file in owned if file.count("/") > 1]
    notes = [
        f"images in deeper folders: {len(deep)} of {len(owned)}; {file} is "
        f"{_first(file)}'s, and so on"
        for file in deep[:1]
    ]
    others = [{"path": folder, "reason": NO_IMAGES} for folder in absent]
    others += [
        {"path": file, "reason": "in no folder, so nobody can say whose it is"}
        for file in files.images
        if "/" not in file
    ]
    return found._replace(
        others=[*files.others, *others],
        absent=[identities.exact(folder) for folder in absent],
        notes=[*notes, *found.notes],
    )


def _first(file: str) -> str:
    """Return the first folder of a path."""
    return file.partition("/")[0]


def _check_level(root: Path, files: list[str]) -> None:
    """Raise InputError where the folders in ROOT are no people's: people lie deeper."""
    total = collections.Counter(map(_first, files))
    deep = collections.Counter(_first(file) for file in files if file.count("/") > 1)
    # An image or two beside the folders make nobody of train.
    deeper = [name for name, count in deep.items() if 2 * count > total[name]]
    kinds = [name for name in deeper if _is_kind(name)]
    if kinds and (len(kinds) > 1 or len(total) == 1):
        raise InputError(
            f"{root} holds {' and '.join(kinds[:3])} with folders in them, so that "
            f"every person would be called {kinds[0]}; expected people's folders, give "
            f"{root / kinds[0]} as the root (for a mixture: bring all people's folders "
            "into one)"
        )
    if len(total) == 1 and deeper:
        raise InputError(
            f"{root} holds one folder, {deeper[0]}, with folders in it; {_LAYOUT} of "
            f"two people or more, give {root / deeper[0]} as the root if the people "
            "are in there"
        )


def _is_kind(name: str) -> bool:
    """Return whether a folder's name says what is in it, such as train or fold_2."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return bool(words) and KINDS.union(_MORE_KINDS).issuperset(words)


def image_of(path: Path, *, identity: str, file: str) -> SourceImage:
    """Return the image in a file, of which the middle square is taken."""
    return SourceImage(
        identity,
        file,
        partial(decoding.read_file, path),
        partial(preprocess.middle, str(path)),
    )
