"""Image files -> uint8 RGB, [height, width, 3], values 0 to 255; on the host.

Whatever a file holds (grey, palette, CMYK, 16 bits, transparency, a rotation left to
the viewer), what comes out is the image as a person would see it. Colour profiles
are not applied, and only the first frame of an animation is read.
"""

import contextlib
import ctypes
import functools
import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, TiffImagePlugin

from sdd_jax.errors import InputError
from sdd_jax.images import formats

Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside

# Left to itself Pillow tries every format it knows; some start other programs.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_MAX_PIXELS = 89_478_485  # Where Pillow starts to warn: 256 MB as RGB.
_MAX_SCANS = 40  # A progressive JPEG's; each goes over every pixel again.
_MAX_RUN_LENGTH = 5_000_000  # pixels; unpacked one by one, in Python, and at 11.3
# with jumps of 255 rows that may lie beyond the end.
_ROWS = 512
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
    """Return the image in a file, or in the bytes of one.

    Args:
        source: A path, or a whole file already in memory.
        name: What errors call the image; its path unless given.

    Raises:
        InputError: The file is missing, empty, cut short, too large or no image.
    """
    return _decode(source, name)[0]


def decode_with_box(
    contents: bytes, box: Box, name: str
) -> tuple[UInt8[np.ndarray, "height width 3"], Box]:
    """Return the image in a file's bytes, and where in it a box is.

    Who drew the box on the stored pixels, as most programs do, did not see how the
    file asks to be turned.

    Args:
        contents: A whole file.
        box: In the stored image.
        name: What errors call the image.

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
    """Return an upright image, and the EXIF number of how its pixels are stored."""
    if isinstance(source, Path):
        name = name or str(source)
        source = read_file(source)
    name = name or "the image"
    if not source:
        raise InputError(
            f"{name}: the file is empty; expected an image, replace or remove it"
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
            _require_quick(image, source)
            if image.format == "TIFF":
                _silence_libtiff()
            upright, orientation = _upright(image)
            return np.array(_to_rgb(upright, *_scale(image))), orientation
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name}: the image unpacks to too many pixels; expected at most "
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


def _require_quick(image: Image.Image, contents: bytes) -> None:
    """Raise ValueError where a small file would take minutes to unpack."""
    num_scans = contents.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 0
    if num_scans > _MAX_SCANS:
        raise ValueError(
            f"{num_scans} scans over all of its pixels, where a JPEG has 1 to 20"
        )
    codecs = [codec for codec, *_ in getattr(image, "tile", ())]
    if "bmp_rle" in codecs and image.width * image.height > _MAX_RUN_LENGTH:
        raise ValueError(
            f"a BMP of run lengths with more than {_MAX_RUN_LENGTH:,} pixels"
        )


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing what is wrong with a file, which Pillow raises too."""
    with contextlib.suppress(OSError, AttributeError):  # it may be hidden in Pillow
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


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
            f"{path}: {error.strerror or error}; expected a readable image file"
        ) from error


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """Return an image turned as it asks to be, and the EXIF number of that."""
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
    except Exception:  # Unreadable remarks beside a readable image: keep the image.
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
    """Return an image of any Pillow mode as RGB.

    Args:
        image: The image.
        black: The value that is black, where there are more than 8 bits of grey.
        white: The value that is white there.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _to_8_bits(np.asarray(image), black, white)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        # Black is what a removed pixel is in the rest of the project, so what is seen
        # through becomes nothing that a mask could not have made.
        return _on_black(image)
    return image.convert("RGB")


def _on_black(image: Image.Image) -> Image.Image:
    """Return what is seen of an image before black, as RGB."""
    flat = Image.new("RGB", image.size)
    # Some rows at a time: of a large image the copies would fill the memory.
    for top in range(0, image.height, _ROWS):
        bottom = min(top + _ROWS, image.height)
        visible = image.crop((0, top, image.width, bottom)).convert("RGBA")
        nothing = Image.new("RGBA", visible.size, (0, 0, 0, 255))
        rows = Image.alpha_composite(nothing, visible).convert("RGB")
        flat.paste(rows, (0, top))
    return flat


def _to_8_bits(
    grey: Shaped[np.ndarray, "height width"], black: int, white: int
) -> UInt8[np.ndarray, "height width"]:
    """Return grey from `black` to `white` scaled to 0 to 255; Pillow would clip it."""
    low, high = sorted((black, white))
    if grey.dtype.kind == "f" or grey.min() < low or grey.max() > high:
        raise ValueError("32-bit grey, of which nobody can say what is white")
    scaled = (grey.astype(np.float32) - black) * (255 / (white - black))
    return np.rint(scaled).astype(np.uint8)
