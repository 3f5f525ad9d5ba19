import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def png_of_size(width: int, height: int) -> bytes:
    """Return the few bytes of a file that claims to hold a picture of this size."""

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
        preprocess.decode(
            source, *(() if not isinstance(source, bytes) else ("x.png",))
        )
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_colour_picture_comes_back_pixel_by_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    decoded = preprocess.decode(encoded(Image.fromarray(pixels)))
    np.testing.assert_array_equal(decoded, pixels)


def test_a_path_and_its_bytes_decode_to_the_same_picture(tmp_path):
    contents = encoded(Image.fromarray(RAMP))
    path = tmp_path / "ramp.png"
    path.write_bytes(contents)
    np.testing.assert_array_equal(preprocess.decode(path), preprocess.decode(contents))


def test_grey_becomes_three_equal_channels():
    decoded = preprocess.decode(encoded(Image.fromarray(RAMP)))
    np.testing.assert_array_equal(decoded, as_rgb(RAMP))


def test_palette_indices_become_their_colours():
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    expected = [[[255, 0, 0], [0, 255, 0]], [[0, 255, 0], [10, 20, 30]]]
    np.testing.assert_array_equal(preprocess.decode(encoded(image)), expected)


def test_cmyk_ink_darkens():
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 3] = 255  # black
    inks[:, 16:, 0] = 255  # cyan
    image = Image.frombytes("CMYK", (24, 8), inks.tobytes())
    contents = encoded(image, "TIFF")
    decoded = preprocess.decode(contents)
    np.testing.assert_array_equal(
        decoded[4, [4, 12, 20]], [[255] * 3, [0] * 3, [0, 255, 255]]
    )


def test_sixteen_bit_grey_equals_the_eight_bit_picture_it_was_made_from():
    deep = RAMP.astype(np.uint16) * 257
    for contents in (
        encoded(Image.fromarray(deep)),
        encoded(Image.fromarray(deep), "TIFF"),
        b"P5 6 4 65535\n" + deep.astype(">u2").tobytes(),
    ):
        np.testing.assert_array_equal(preprocess.decode(contents), as_rgb(RAMP))


def test_grey_without_a_known_white_is_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    assert_refused(encoded(image, "TIFF"), "x.png", "32-bit")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_black_and_half_transparent_ones_half_as_bright(mode):
    grey = np.full((1, 3), 200, np.uint8)
    opacity = np.array([[0, 128, 255]], np.uint8)
    colours = [Image.fromarray(grey)] * (3 if mode == "RGBA" else 1)
    image = Image.merge(mode, [*colours, Image.fromarray(opacity)])
    decoded = preprocess.decode(encoded(image))
    np.testing.assert_array_equal(decoded, as_rgb(np.array([[0, 100, 200]])))


def test_a_transparent_palette_colour_is_black():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    for contents in (
        encoded(image, transparency=0),
        encoded(image, transparency=b"\x00\xff"),
        encoded(image, "GIF", transparency=0),
    ):
        decoded = preprocess.decode(contents)
        np.testing.assert_array_equal(decoded, [[[0, 0, 0], [0, 255, 0]]])


def test_a_picture_that_asks_to_be_rotated_is_rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: show the picture a quarter clockwise.
    decoded = preprocess.decode(encoded(Image.fromarray(RAMP), exif=exif))
    np.testing.assert_array_equal(decoded, as_rgb(np.rot90(RAMP, -1)))


@pytest.mark.parametrize("exif", [b"MM\x00*\xff\xff", b"nonsense", b""])
def test_metadata_that_makes_no_sense_does_not_cost_the_picture(exif):
    contents = encoded(Image.fromarray(RAMP), exif=b"Exif\x00\x00" + exif)
    np.testing.assert_array_equal(preprocess.decode(contents), as_rgb(RAMP))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_picture_cut_in_half_is_refused(file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    contents = encoded(Image.fromarray(noise), file_format)
    preprocess.decode(contents)
    assert_refused(contents[: len(contents) // 2], "x.png", "cannot be read")


@pytest.mark.parametrize("contents", [b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_refused(contents):
    assert_refused(contents, "x.png", "cannot be read")


def test_an_empty_file_is_refused_by_name(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert_refused(path, str(path), "empty")


def test_a_missing_file_is_refused_by_name(tmp_path):
    assert_refused(tmp_path / "gone.jpg", "gone.jpg", "No such file")


def test_a_picture_changed_by_a_newline_conversion_is_refused():
    damaged = b"P5\n6 4\n255\n".replace(b"\n", b"\r\n") + RAMP.tobytes()
    assert_refused(damaged, "newline")


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused(side):
    assert_refused(png_of_size(side, side), "x.png", "too many pixels")


def test_square_crop_keeps_the_middle():
    image = as_rgb(np.arange(10, dtype=np.uint8).reshape(2, 5))
    np.testing.assert_array_equal(
        preprocess.square_crop(image)[..., 0], [[1, 2], [6, 7]]
    )
    upright = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(
        preprocess.square_crop(upright)[..., 0], [[1, 6], [2, 7]]
    )


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(preprocess.resize(image, 9), image)


def test_shrinking_averages_what_it_cannot_show():
    board = as_rgb((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    small = preprocess.resize(board, 8)
    assert small.min() >= 126 and small.max() <= 129


def test_resizing_an_edge_never_leaves_its_two_values():
    edge = np.full((20, 20, 3), 60, np.uint8)
    edge[:, 10:] = 190
    for size in (7, 50):
        resized = preprocess.resize(edge, size)
        assert resized.min() == 60 and resized.max() == 190


COUNTED = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def square_box(box, margin=0.0):
    return preprocess.square_box(COUNTED, box, margin=margin, name="some.jpg")


def test_a_square_box_without_a_margin_is_its_pixels():
    np.testing.assert_array_equal(square_box((1, 2, 3, 4)), COUNTED[2:4, 1:3])


def test_a_box_becomes_the_square_around_its_middle():
    np.testing.assert_array_equal(square_box((1, 1, 5, 3)), COUNTED[0:4, 1:5])


def test_the_margin_is_added_on_each_side():
    np.testing.assert_array_equal(square_box((2, 1, 4, 3), 0.5), COUNTED[0:4, 1:5])


def test_outside_of_the_picture_is_black():
    square = square_box((4, -1, 8, 3))
    np.testing.assert_array_equal(square[1:, :2], COUNTED[0:3, 4:6])
    assert not square[0].any() and not square[:, 2:].any()


@pytest.mark.parametrize(
    "box", [(2, 1, 2, 3), (3, 1, 2, 3), (6, 0, 9, 3), (0, -3, 3, 0)]
)
def test_a_box_without_a_pixel_is_refused(box):
    with pytest.raises(InputError, match="some.jpg: the box .* has nothing of its 6x4"):
        square_box(box)


def test_a_box_that_would_take_all_memory_is_refused():
    with pytest.raises(InputError, match="more than twice as large as its 6x4 pixels"):
        square_box((-(10**9), -(10**9), 10**9, 10**9))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_with_the_picture(orientation):
    stored = np.zeros((30, 50, 3), np.uint8)
    left, top, right, bottom = box = (4, 6, 20, 13)
    stored[top:bottom, left:right] = 255
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(stream, "png", exif=exif)
    upright = preprocess.decode(stream.getvalue())
    left, top, right, bottom = preprocess.upright_box(stream.getvalue(), box)
    expected = np.zeros_like(upright)
    expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(upright, expected)
