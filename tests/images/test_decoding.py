import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiff_files import tiff

from sdd_jax.errors import InputError
from sdd_jax.images import decoding

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def png_of_size(width: int, height: int) -> bytes:
    """Return the few bytes of a file that claims to hold an image of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def assert_refused(source, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        decoding.decode(source, *(() if not isinstance(source, bytes) else ("x.png",)))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_colour_image_comes_back_pixel_by_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    decoded = decoding.decode(encoded(Image.fromarray(pixels)))
    np.testing.assert_array_equal(decoded, pixels)


def test_a_path_and_its_bytes_decode_to_the_same_image(tmp_path):
    contents = encoded(Image.fromarray(RAMP))
    path = tmp_path / "ramp.png"
    path.write_bytes(contents)
    np.testing.assert_array_equal(decoding.decode(path), decoding.decode(contents))


def test_grey_becomes_three_equal_channels():
    decoded = decoding.decode(encoded(Image.fromarray(RAMP)))
    np.testing.assert_array_equal(decoded, as_rgb(RAMP))


def test_palette_indices_become_their_colours():
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    expected = [[[255, 0, 0], [0, 255, 0]], [[0, 255, 0], [10, 20, 30]]]
    np.testing.assert_array_equal(decoding.decode(encoded(image)), expected)


def test_cmyk_ink_darkens():
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 3] = 255  # black
    inks[:, 16:, 0] = 255  # cyan
    image = Image.frombytes("CMYK", (24, 8), inks.tobytes())
    contents = encoded(image, "TIFF")
    decoded = decoding.decode(contents)
    np.testing.assert_array_equal(
        decoded[4, [4, 12, 20]], [[255] * 3, [0] * 3, [0, 255, 255]]
    )


def test_sixteen_bit_grey_equals_the_eight_bit_image_it_was_made_from():
    deep = RAMP.astype(np.uint16) * 257
    for contents in (
        encoded(Image.fromarray(deep)),
        encoded(Image.fromarray(deep), "TIFF"),
        b"P5 6 4 65535\n" + deep.astype(">u2").tobytes(),
    ):
        np.testing.assert_array_equal(decoding.decode(contents), as_rgb(RAMP))


def test_grey_without_a_known_white_is_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    assert_refused(encoded(image, "TIFF"), "x.png", "32-bit")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_black_and_half_transparent_ones_half_as_bright(mode):
    grey = np.full((1, 3), 200, np.uint8)
    opacity = np.array([[0, 128, 255]], np.uint8)
    colours = [Image.fromarray(grey)] * (3 if mode == "RGBA" else 1)
    image = Image.merge(mode, [*colours, Image.fromarray(opacity)])
    decoded = decoding.decode(encoded(image))
    np.testing.assert_array_equal(decoded, as_rgb(np.array([[0, 100, 200]])))


def test_a_transparent_palette_colour_is_black():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    for contents in (
        encoded(image, transparency=0),
        encoded(image, transparency=b"\x00\xff"),
        encoded(image, "GIF", transparency=0),
    ):
        decoded = decoding.decode(contents)
        np.testing.assert_array_equal(decoded, [[[0, 0, 0], [0, 255, 0]]])


def test_an_image_that_asks_to_be_rotated_is_rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: show the image a quarter clockwise.
    decoded = decoding.decode(encoded(Image.fromarray(RAMP), exif=exif))
    np.testing.assert_array_equal(decoded, as_rgb(np.rot90(RAMP, -1)))


@pytest.mark.parametrize("exif", [b"MM\x00*\xff\xff", b"nonsense", b""])
def test_metadata_that_makes_no_sense_does_not_cost_the_image(exif):
    contents = encoded(Image.fromarray(RAMP), exif=b"Exif\x00\x00" + exif)
    np.testing.assert_array_equal(decoding.decode(contents), as_rgb(RAMP))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_cut_in_half_is_refused(file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    contents = encoded(Image.fromarray(noise), file_format)
    decoding.decode(contents)
    assert_refused(contents[: len(contents) // 2], "x.png", "cannot be read")


@pytest.mark.parametrize("contents", [b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_refused(contents):
    assert_refused(contents, "x.png", "cannot be read")


def test_an_empty_file_is_refused_by_name(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert_refused(path, str(path), "empty")


def test_a_missing_file_is_refused_by_name(tmp_path):
    assert_refused(tmp_path / "gone.jpg", "gone.jpg", "No such file")


def test_an_image_changed_by_a_newline_conversion_is_refused():
    damaged = b"P5\n6 4\n255\n".replace(b"\n", b"\r\n") + RAMP.tobytes()
    assert_refused(damaged, "newline")


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_a_small_file_that_unpacks_to_a_huge_image_is_refused(side):
    assert_refused(png_of_size(side, side), "x.png", "too many pixels")


def marked(box) -> np.ndarray:
    """Return a black image, wider than high, that is white in a box."""
    left, top, right, bottom = box
    stored = np.zeros((48, 80, 3), np.uint8)
    stored[top:bottom, left:right] = 255
    return stored


def asking_for(orientation: int, kind: str, stored: np.ndarray) -> bytes:
    """Return a file that asks to be turned, in one of the ways there are to ask."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(stored)
    if kind == "TIFF by hand":
        return tiff(stored[..., 0], 8, orientation=orientation, is_deflated=True)
    if kind == "TIFF, XMP":
        xmp = f'<x tiff:Orientation="{orientation}"/>'.encode()
        return encoded(image, "TIFF", tiffinfo={700: xmp})
    if kind == "PNG, behind its pixels":
        contents = encoded(image)
        data = exif.tobytes().removeprefix(b"Exif\x00\x00")
        end = contents.index(b"IEND") - 4
        checksum = struct.pack(">I", zlib.crc32(b"eXIf" + data))
        chunk = struct.pack(">I", len(data)) + b"eXIf" + data + checksum
        return contents[:end] + chunk + contents[end:]
    options = {"quality": 100} if kind in ("JPEG", "WEBP", "AVIF") else {}
    return encoded(image, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind",
    [
        *("JPEG", "TIFF", "PNG", "WEBP", "AVIF"),
        *("TIFF by hand", "TIFF, XMP", "PNG, behind its pixels"),
    ],
)
def test_a_box_turns_with_the_image(kind, orientation):
    box = (8, 16, 40, 32)
    contents = asking_for(orientation, kind, marked(box))
    upright, turned = decoding.decode_with_box(contents, box, "x")
    np.testing.assert_array_equal(upright, decoding.decode(contents))
    assert upright.shape[:2] == ((48, 80) if orientation < 5 else (80, 48))
    left, top, right, bottom = turned
    expected = np.zeros(upright.shape[:2], bool)
    expected[top:bottom, left:right] = True
    assert expected.sum() == 32 * 16
    np.testing.assert_array_equal(upright[..., 1] > 127, expected)
    # And it was turned, not only kept together with its box.
    corner = np.zeros((48, 80), bool)
    corner[16:32, 8:40] = True
    turns = {3: 2, 6: -1, 8: 1, 1: 0}
    if orientation in turns:
        np.testing.assert_array_equal(expected, np.rot90(corner, turns[orientation]))


@pytest.mark.parametrize("num_bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("is_white_zero", [False, True])
def test_a_grey_tiff_is_as_bright_as_it_looks(num_bits, is_white_zero):
    white = 2**num_bits - 1
    grey = np.arange(20 * 24).reshape(20, 24) * white // (20 * 24 - 1)
    expected = as_rgb(np.rint(grey * (255 / white)).astype(np.uint8))
    stored = white - grey if is_white_zero else grey
    flags = (False, True)
    for order, is_tiled, is_deflated in itertools.product("<>", flags, flags):
        contents = tiff(
            stored,
            num_bits,
            is_white_zero=is_white_zero,
            order=order,
            is_tiled=is_tiled,
            is_deflated=is_deflated,
        )
        # Pillow reads these of one order of bytes only.
        if (
            num_bits == 12
            and (is_white_zero or order == ">")
            or ((num_bits, is_white_zero, order) == (16, True, ">"))
        ):
            assert_refused(contents, "cannot be read")
        else:
            np.testing.assert_array_equal(decoding.decode(contents), expected)


@pytest.mark.parametrize(
    "num_bits, sample_format, words",
    [(32, 1, "32-bit grey, of"), (16, 2, "with a sign"), (32, 3, "with a sign or fr")],
)
def test_a_tiff_without_a_known_white_is_refused_however_dark(
    num_bits, sample_format, words
):
    contents = tiff(RAMP, num_bits, sample_format=sample_format)
    assert_refused(contents, "x.png", words, "nobody can say what is white")


def test_deep_grey_with_another_white_is_scaled_by_it():
    deep = RAMP.astype(np.uint16) * 16
    contents = b"P5 6 4 4080\n" + deep.astype(">u2").tobytes()
    np.testing.assert_array_equal(decoding.decode(contents), as_rgb(RAMP))
