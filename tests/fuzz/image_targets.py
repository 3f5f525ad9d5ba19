"""Images of every format that is read, through decoding, cutting and face search."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mutations import of_images
from oracle import refusable
from PIL import ExifTags, Image, features
from target import Target
from tiff_files import tiff

from sdd_jax.images import decoding, preprocess
from sdd_jax.images.alignment import crops
from sdd_jax.images.alignment.detectors import load_mtcnn
from sdd_jax.images.sources import orl
from sdd_jax.images.splitting.scanning import small_hash

BOX = (2, 3, 30, 31)
MOST_SEARCHED = 300_000  # pixels; a face search takes a second for a million


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 36)) -> Image.Image:
    """Return coarse blocks of colour."""
    blocks = np.random.default_rng(0).integers(0, 256, (9, 10, 3), np.uint8)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    return image.convert(mode)


def encoded(mode: str, file_format: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    picture(mode).save(stream, file_format, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    """Return remarks that ask for a turn."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "a camera"
    return exif


def run_length_bmp(width: int, height: int, data: bytes) -> bytes:
    """Return a BMP of run lengths, which Pillow does not write."""
    sizes = [width, height, 0x0008_0001, 1, len(data), 0, 0, 256, 0]
    head = b"".join(number.to_bytes(4, "little") for number in (40, *sizes))
    start = (14 + 40 + 1024).to_bytes(4, "little")
    return b"BM" + bytes(8) + start + head + bytes(range(256)) * 4 + data


def _frames() -> dict[str, Any]:
    """Return what makes an animation; new, as saving leaves its marks on an image."""
    return {"save_all": True, "append_images": [picture().rotate(90), picture()]}


def seeds() -> list[bytes]:
    """Return images of every format, depth and layout."""
    grey = np.asarray(picture("L"))
    found = [
        encoded("RGB", "JPEG"),
        encoded("RGB", "JPEG", progressive=True, exif=turned(6)),
        encoded("CMYK", "JPEG"),
        encoded("L", "JPEG", exif=turned(3), icc_profile=bytes(200)),
        encoded("RGB", "MPO", **_frames()),
        *(encoded(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "I;16")),
        encoded("RGBA", "PNG", exif=turned(5)),
        encoded("P", "PNG", transparency=b"\0\x80\xff" * 20),
        encoded("RGB", "PNG", transparency=(3, 4, 5)),
        encoded("RGB", "PNG", **_frames()),
        encoded("P", "GIF"),
        encoded("RGB", "GIF", duration=50, transparency=1, **_frames()),
        *(encoded(mode, "BMP") for mode in ("1", "L", "P", "RGB")),
        run_length_bmp(40, 36, b"\x05\x07\0\2\1\1\0\x04abcd\0\0" * 40 + b"\0\1"),
        *(encoded(mode, "PPM") for mode in ("1", "L", "RGB", "I;16")),
        b"P2 20 18 9\n" + b"1 2 3 9 " * 90,
        b"P6 20 18 200\n" + bytes(range(20)) * 54,
        b"P1 20 18\n" + b"10" * 180,
        *(encoded(mode, "TIFF") for mode in ("1", "P", "RGBA", "CMYK", "I;16")),
        encoded("RGB", "TIFF", compression="tiff_lzw", exif=turned(8)),
        encoded("RGB", "TIFF", compression="jpeg"),
        encoded("RGB", "TIFF", compression="packbits"),
        encoded("RGB", "TIFF", **_frames()),
        tiff(grey.astype(np.uint16), 12, is_deflated=True),
        tiff(grey.astype(np.uint16), 16, order=">", is_tiled=True, orientation=7),
        tiff(grey.astype(np.float32), 32, sample_format=3),
        encoded("RGB", "WEBP", quality=60, exif=turned(2)),
        encoded("RGBA", "WEBP", lossless=True),
        encoded("RGB", "WEBP", **_frames()),
        b"P5\r\n92 112\r\n255\r\n" + bytes(range(200)) * 52,
    ]
    if features.check("jpg_2000"):
        found += [encoded("RGB", "JPEG2000"), encoded("LA", "JPEG2000", no_jp2=True)]
    if features.check("avif"):
        found += [encoded("RGBA", "AVIF"), encoded("RGB", "AVIF", **_frames())]
    return found


def read_image(contents: bytes, folder: Path) -> None:
    """Make of a file what the sources of images make of it."""
    if contents.startswith(b"P5"):
        refusable(_made, orl.maker().image, contents)
    # One of the two, by what the input happens to be: each may take its seconds.
    if len(contents) % 2:
        _boxed(contents)
    else:
        _made(preprocess.middle, contents)


def _made(make: Callable[[str, bytes], np.ndarray], contents: bytes) -> None:
    square = make("x", contents)
    small_hash(square)
    resized = preprocess.resize(square, 112)
    assert resized.shape == (112, 112, 3) and resized.dtype == np.uint8


def _boxed(contents: bytes) -> None:
    image, box = decoding.decode_with_box(contents, BOX, "x")
    square = preprocess.square_box(image, box, margin=0.1, name="x")
    preprocess.checked(square, "x", of=image)


def read_face(contents: bytes, folder: Path) -> None:
    """Look for a face as `sdd_jax.images.align` does, in what is not too large."""
    pixels = decoding.decode(contents, "x")
    preprocess.checked(pixels, "x", of=pixels)
    if pixels.size <= 3 * MOST_SEARCHED:
        crops.aligned(pixels, _detector(), size=112, min_score=0.0)


@functools.cache
def _detector() -> Any:
    return load_mtcnn()


def _face_seeds() -> list[bytes]:
    import photographs

    found = []
    for pixels, options in ((photographs.astronaut(), {"exif": turned(6)}),):
        face = Image.fromarray(pixels[:256, 100:356]).resize((128, 128))
        for file_format in ("JPEG", "PNG", "WEBP"):
            stream = io.BytesIO()
            face.save(stream, file_format, **options)
            found.append(stream.getvalue())
    return [*found, encoded("RGB", "PNG"), encoded("L", "BMP")]


TARGETS = (
    Target("images", seeds, read_image, of_images),
    Target("faces", _face_seeds, read_face, of_images),
)
