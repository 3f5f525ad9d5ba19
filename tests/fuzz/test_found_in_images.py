"""What fuzzing found in images, each by its smallest input."""

import io
import struct

import numpy as np
import pytest
from image_targets import encoded, run_length_bmp
from oracle import judge
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import decoding


def refusal_of(contents):
    """Return why an image is refused; nothing else may be seen of it."""
    refusals = []

    def read():
        try:
            decoding.decode(contents, "x")
        except InputError as error:
            refusals.append(str(error))

    found = judge(read)
    assert found is None, found
    [refusal] = refusals
    return refusal


def with_scans(number):
    """Return a progressive JPEG whose last scan comes many times."""
    stream = io.BytesIO()
    Image.new("L", (64, 64), 128).save(stream, "JPEG", progressive=True)
    contents = stream.getvalue()
    start = contents.rindex(b"\xff\xda")
    return contents[:start] + contents[start:-2] * number + contents[-2:]


def test_a_jpeg_of_many_scans_is_refused():
    # 5,000 on a megabyte, each over 88 million pixels, took four minutes.
    assert "50 scans over all of its pixels" in refusal_of(with_scans(45))
    assert decoding.decode(with_scans(20), "x").shape == (64, 64, 3)


def test_a_large_bmp_of_run_lengths_is_refused():
    # A pixel and an end of line: 17 seconds for 1,082 bytes.
    contents = run_length_bmp(89_000_000, 1, b"\x01\x05\0\0")
    assert "more than 5,000,000 pixels" in refusal_of(contents)
    small = run_length_bmp(4, 1, b"\x04\x05\0\0\0\1")
    assert decoding.decode(small, "x").shape == (1, 4, 3)


def test_pillow_warns_of_no_size_that_is_refused():
    contents = encoded("RGB", "PNG")
    contents = contents[:16] + struct.pack(">II", 9400, 16_383) + contents[24:]
    assert judge(lambda: decoding.decode(contents, "x")) is None


@pytest.mark.parametrize("length", [200, 60, 12])
def test_pillow_warns_of_no_tiff_that_is_cut(length):
    contents = encoded("RGB", "TIFF")
    assert judge(lambda: decoding.decode(contents[:-length], "x")) is None


def test_pillow_warns_of_no_remark_that_it_cannot_read():
    contents = encoded("RGB", "MPO")
    contents = contents.replace(b"MPF\0", b"MPF\0II*\0\x08\0\0\0\x03\0\0\xb0", 1)
    assert judge(lambda: decoding.decode(contents, "x")) is None


def test_a_tall_image_is_put_on_black_as_a_low_one_is():
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 5, 4), np.uint8)
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    expected = np.asarray(Image.alpha_composite(black, image).convert("RGB"))
    np.testing.assert_array_equal(decoding.decode(stream.getvalue(), "x"), expected)


def test_libtiff_prints_nothing():
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(stream, "TIFF", compression="tiff_deflate")
    contents = bytearray(stream.getvalue())
    place = contents.index(b"x\x9c")
    contents[place + 2 : place + 12] = bytes(range(240, 250))
    assert "cannot be read" in refusal_of(bytes(contents))
