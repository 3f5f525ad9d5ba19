"""Picture files -> uint8 RGB, [height, width, 3], values 0 to 255; on the host.

Whatever a file holds (grey, palette, CMYK, 16 bits, transparency, a rotation left to
the viewer), what comes out is the picture as a person would see it. Colour profiles
are not applied, faces are not detected or aligned, and only the first frame of an
animation is read. A square that is too small for a face, or of one colour, is refused.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, TiffImagePlugin

from sdd_jax.errors import InputError
from sdd_jax.images import formats

MIN_SIDE = 16  # of a square: the smallest faces that anybody trains on
# A square whose channels all span less is of one colour, give or take a scanner's or a
# JPEG's noise. No face is so faint.
_MIN_SPAN = 8
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside

# Left to itself Pillow tries every format it knows; some start other programs.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_MAX_PIXELS = 89_478_485  # Where Pillow starts to warn: 256 MB as RGB.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: Path | bytes, name: str = "") -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture in a file, or in the bytes of one.

    Args:
        source: A path, or a whole file already in memory.
        name: What errors call the picture; its path unless given.

    Raises:
        InputError: The file is missing, empty, cut short, too large or no picture.
    """
    return _decode(source, name)[0]


def decode_with_box(
    contents: bytes, box: Box, name: str
) -> tuple[UInt8[np.ndarray, "height width 3"], Box]:
    """Return the picture in a file's bytes, and where in it a box is.

    Who drew the box on the stored pixels, as most programs do, did not see how the
    file asks to be turned.

    Args:
        contents: A whole file.
        box: In the stored picture.
        name: What errors call the picture.

    Raises:
        InputError: As for `decode`.
    """
    image, orientation = _decode(contents, name)
    height, width, _ = image.shape
    if orientation >= 5:
        height, width = width, height
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    return image, (left, top, right, bottom)


def _decode(
    source: Path | bytes, name: str
) -> tuple[UInt8[np.ndarray, "height width 3"], int]:
    """Return an upright picture, and the EXIF number of how its pixels are stored."""
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
            upright, orientation = _upright(image)
            return np.array(_to_rgb(upright, *_scale(image))), orientation
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


def middle(name: str, contents: bytes) -> UInt8[np.ndarray, "side side 3"]:
    """Return the middle square of the picture in a file, as `face_in` does."""
    return face_in(contents, name, square_crop)


def face_in(
    contents: bytes,
    name: str,
    cut: Callable[
        [UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "rows columns 3"]
    ],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return what is cut out of the picture in a file.

    Args:
        contents: A whole file.
        name: What errors call the picture.
        cut: What cuts.

    Raises:
        InputError: As for `decode` and `checked`.
    """
    image = decode(contents, name)
    return checked(cut(image), name, of=image)


def checked(
    cut: UInt8[np.ndarray, "rows columns 3"],
    name: str,
    *,
    of: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return what was cut out of a picture, if it can show a face.

    Args:
        cut: What is to be looked at.
        name: What errors call the picture.
        of: The whole picture.

    Raises:
        InputError: A side of it is smaller than `MIN_SIDE`, or it is of one colour.
    """
    height, width, _ = of.shape
    rows, columns, _ = cut.shape
    if min(rows, columns) < MIN_SIDE:
        part = "" if cut.shape == of.shape else f", of which {columns}x{rows} are taken"
        raise InputError(
            f"{name}: {width}x{height} pixels{part}; expected at least "
            f"{MIN_SIDE}x{MIN_SIDE} of a face, replace or remove it"
        )
    return not_flat(cut, name)


def not_flat(
    image: UInt8[np.ndarray, "height width 3"], name: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture; InputError where all of it is of one colour."""
    # A few pixels decide about all pictures but the flat ones.
    for step in (max(1, min(image.shape[:2]) // 8), 1):
        pixels = image[::step, ::step].reshape(-1, 3)
        if np.ptp(pixels, axis=0).max() >= _MIN_SPAN:
            return image
    height, width, _ = image.shape
    red, green, blue = np.rint(image.reshape(-1, 3).mean(0)).astype(int)
    raise InputError(
        f"{name}: {width}x{height} pixels of one colour, red {red}, green {green}, "
        f"blue {blue}; expected a face, replace or remove it"
    )


def square_box(
    image: UInt8[np.ndarray, "height width 3"],
    box: Box,
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


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """Return a picture turned as it asks to be, and the EXIF number of that."""
    if image.format == "TIFF":
        # Pillow itself turns these, on loading, and forgets that it did.
        orientation = _orientation(image)
        image.load()
        return image, orientation
    image.load()  # first: a PNG may say it behind its pixels
    orientation = _orientation(image)
    if orientation == 1:
        return image, 1
    return image.transpose(_TURNS[orientation]), orientation


def _orientation(image: Image.Image) -> int:
    """Return how the pixels are stored, 1 to 8; 1 is upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Unreadable remarks beside a readable picture: keep the picture.
        return 1
    return orientation if orientation in _TURNS else 1


def _scale(image: Image.Image) -> tuple[int, int]:
    """Return which values of deep grey are black and white.

    Pillow gives the values as they are stored, for more than 8 bits.

    Raises:
        ValueError: Nobody can say.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0, 65535
    tags = image.tag_v2
    num_bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    is_unsigned = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 1
    if num_bits > 16 or num_bits > 8 and not is_unsigned:
        raise ValueError(
            f"{num_bits}-bit grey{'' if is_unsigned else ' with a sign or fractions'}, "
            "of which nobody can say what is white"
        )
    white = 2**num_bits - 1
    is_white_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
    return (white, 0) if is_white_zero else (0, white)


def _to_rgb(image: Image.Image, black: int, white: int) -> Image.Image:
    """Return a picture of any Pillow mode as RGB.

    Args:
        image: The picture.
        black: The value that is black, where there are more than 8 bits of grey.
        white: The value that is white there.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _to_8_bits(np.asarray(image), black, white)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        # Black is what a removed pixel is in the rest of the project, so what is seen
        # through becomes nothing that a mask could not have made.
        visible = image.convert("RGBA")
        nothing = Image.new("RGBA", visible.size, (0, 0, 0, 255))
        return Image.alpha_composite(nothing, visible).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(
    grey: Shaped[np.ndarray, "height width"], black: int, white: int
) -> UInt8[np.ndarray, "height width"]:
    """Return grey from `black` to `white` scaled to 0 to 255; Pillow would clip it."""
    low, high = sorted((black, white))
    if grey.dtype.kind == "f" or grey.min() < low or grey.max() > high:
        raise ValueError("32-bit grey, of which nobody can say what is white")
    scaled = (grey.astype(np.float32) - black) * (255 / (white - black))
    return np.rint(scaled).astype(np.uint8)
