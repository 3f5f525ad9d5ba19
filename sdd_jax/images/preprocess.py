"""Picture files -> uint8 RGB, [height, width, 3], values 0 to 255; on the host.

Whatever a file holds (grey, palette, CMYK, 16 bits, transparency, a rotation left to
the viewer), what comes out is the picture as a person would see it. Colour profiles
are not applied, faces are not detected or aligned, and only the first frame of an
animation is read.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, ImageOps

from sdd_jax.errors import InputError
from sdd_jax.images import formats

# Left to itself Pillow tries every format it knows; some start other programs.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_MAX_PIXELS = 89_478_485  # Where Pillow starts to warn: 256 MB as RGB.


def decode(source: Path | bytes, name: str = "") -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture in a file, or in the bytes of one.

    Args:
        source: A path, or a whole file already in memory.
        name: What errors call the picture; its path unless given.

    Raises:
        InputError: The file is missing, empty, cut short, too large or no picture.
    """
    if isinstance(source, Path):
        name = name or str(source)
        source = read_file(source)
    name = name or "the picture"
    if not source:
        raise InputError(
            f"{name}: the file is empty; expected a picture, replace or remove it"
        )
    formats.check(name, source)
    try:
        # Pillow would take the second byte of the line's end for the first pixel.
        if source[:4] in (b"P5\r\n", b"P6\r\n"):
            raise ValueError("a newline conversion has changed its bytes")
        with Image.open(io.BytesIO(source), formats=_FORMATS) as image:
            # Before any pixel is unpacked: a small file can ask for all memory.
            if image.width * image.height > _MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            return np.array(_to_rgb(_upright(image)))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name}: the picture unpacks to too many pixels; expected at most "
            f"{_MAX_PIXELS}, make it smaller first"
        ) from error
    except Exception as error:  # Pillow's readers answer damage with any exception.
        reason = " ".join(str(error).split()) or type(error).__name__
        # Pillow names the buffer, with its address, which says nothing to a user.
        reason = reason.split(" <_io.BytesIO")[0]
        raise InputError(
            f"{name}: cannot be read ({reason}); expected a whole JPEG, PNG or the "
            "like, replace or remove it"
        ) from error


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InputError: It is missing, not readable, or no file but a folder or a pipe.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(None, "not a file")  # and reading a pipe would never end
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected a readable picture file"
        ) from error


def square_crop(
    image: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the largest square in the middle, left or up of it if it cannot be."""
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def square_box(
    image: UInt8[np.ndarray, "height width 3"],
    box: tuple[int, int, int, int],
    *,
    margin: float,
    name: str,
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the square around a box, black where the picture ends.

    Args:
        image: Of any size.
        box: Left, top, right, bottom, in pixels; the last two are not inside.
        margin: What is added on each side, as a share of the box's longer side.
        name: What the error calls the picture.

    Raises:
        InputError: The box is empty or outside of the picture.
    """
    left, top, right, bottom = box
    height, width, _ = image.shape
    inside = min(right, width) > max(left, 0) and min(bottom, height) > max(top, 0)
    if not (left < right and top < bottom and inside):
        raise InputError(
            f"{name}: the box {left},{top},{right},{bottom} has nothing of its "
            f"{width}x{height} pixels"
        )
    side = max(round((1 + 2 * margin) * max(right - left, bottom - top)), 1)
    if side > 2 * max(height, width):
        raise InputError(
            f"{name}: the box {left},{top},{right},{bottom} is more than twice "
            f"as large as its {width}x{height} pixels"
        )
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    square = np.zeros((side, side, 3), np.uint8)
    rows = slice(max(y, 0), min(y + side, height))
    columns = slice(max(x, 0), min(x + side, width))
    square[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = (
        image[rows, columns]
    )
    return square


def upright_box(
    contents: bytes, box: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Return where a box is once `decode` has turned the picture as EXIF asks.

    Boxes are left, top, right, bottom in pixels. Who drew them on the stored pixels, as
    most programs do, did not see the rotation.

    Args:
        contents: A whole file that `decode` takes.
        box: In the stored picture.
    """
    with Image.open(io.BytesIO(contents), formats=_FORMATS) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        width, height = image.size
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if orientation in (5, 6, 7, 8):
        left, top, right, bottom = top, left, bottom, right
    return left, top, right, bottom


def resize(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Return the picture at `size` x `size`, antialiased when it shrinks.

    The filter is Pillow's bilinear, a triangle as wide as the reduction. It has no
    negative weights, so it draws no bright seams beside hair and glasses, which a
    network could take for a feature.
    """
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(resized)


def _upright(image: Image.Image) -> Image.Image:
    """Return a picture turned as its EXIF data asks."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Unreadable remarks beside a readable picture: keep the picture.
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any Pillow mode as RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        # Black is what a removed pixel is in the rest of the project, so what is seen
        # through becomes nothing that a mask could not have made.
        visible = image.convert("RGBA")
        black = Image.new("RGBA", visible.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, visible).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(
    grey: Shaped[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width"]:
    """Return 16-bit grey, 0 to 65535, scaled to 0 to 255; Pillow would clip it."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise ValueError("32-bit grey, of which nobody can say what is white")
    return np.rint(grey.astype(np.float32) * (255 / 65535)).astype(np.uint8)
