"""Writes FaceScrub as people hold it, with drawn faces of people who do not exist."""

import hashlib
import io
import string
from pathlib import Path

import numpy as np
from PIL import Image

from sdd_jax.images.sources import synthetic

HEADER = "name\timage_id\tface_id\turl\tbbox\tsha256\n"


def names(num_identities: int) -> list[str]:
    """Return as many different names, a first and a last one each."""
    letters = string.ascii_lowercase
    return [
        f"Person{letters[i % 26]} Of{letters[i // 26]}" for i in range(num_identities)
    ]


def jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "jpeg", quality=95, subsampling=0)
    return stream.getvalue()


def face(label: int, index: int, size: int) -> np.ndarray:
    # Every person's drawings are other ones: equal but for a mark, small images of
    # two people could come out as the same bytes.
    drawn, _ = synthetic.draw(label % 8, index, image_size=size, seed=label)
    return drawn


def write_faces(
    root: Path, *, num_identities: int, num_images: int, size: int = 112
) -> Path:
    """Write ROOT/actors and actresses/faces/<Name_With_Underscores>/<file>.jpeg."""
    for label, name in enumerate(names(num_identities)):
        name = name.replace(" ", "_")
        folder = root / ("actors", "actresses")[label % 2] / "faces" / name
        folder.mkdir(parents=True)
        for index in range(num_images):
            number = label * num_images + index
            path = folder / f"{name}_{number}_{number + 7}.jpeg"
            path.write_bytes(jpeg(face(label, index, size)))
    return root


def write_photographs(
    root: Path, *, num_identities: int, num_images: int, size: int = 32
) -> Path:
    """Write both lists and the photographs as the published script names them.

    A face of size x size lies in the middle, more or less, of a grey photograph twice
    as large.
    """
    lists = {"actors": HEADER, "actresses": HEADER}
    for label, name in enumerate(names(num_identities)):
        kind = ("actors", "actresses")[label % 2]
        own = name.replace(" ", "_")
        folder = root / kind / "images" / own
        folder.mkdir(parents=True)
        for index in range(num_images):
            number = label * num_images + index
            photograph = np.full((2 * size, 2 * size, 3), 90, np.uint8)
            left, top = size // 2 + index % 3 - 1, size // 2 + index % 2
            place = photograph[top : top + size, left : left + size]
            place[:] = face(label, index, size)
            content = jpeg(photograph)
            (folder / f"{own}_{number}.jpeg").write_bytes(content)
            box = f"{left},{top},{left + size},{top + size}"
            sha256 = hashlib.sha256(content).hexdigest()
            url = f"http://example.org/{number}.jpg"
            lists[kind] += f"{name}\t{number}\t{number + 7}\t{url}\t{box}\t{sha256}\n"
    for kind, lines in lists.items():
        (root / f"facescrub_{kind}.txt").write_text(lines)
    return root
