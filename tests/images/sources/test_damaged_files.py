"""Every kind of file that people find in their folders, and what becomes of it."""

import json
import os
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import tiff

from sdd_jax.errors import InputError
from sdd_jax.images import decoding
from sdd_jax.images.sources import folder

# Four colours in the corners tell whether an image is upright and its colours right.
CORNERS = np.array([[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [200, 200, 0]]], np.uint8)
IMAGE = Image.fromarray(CORNERS.repeat(32, 0).repeat(32, 1))
GREY = Image.fromarray(np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64) * 4)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def cut(path, image: Image.Image) -> None:
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cmyk(path) -> None:
    IMAGE.convert("CMYK").save(path, quality=95)


def sixteen_bits(path) -> None:
    Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257).save(path)


def see_through_palette(path) -> None:
    palette = IMAGE.quantize(4)
    palette.save(path, transparency=palette.getpixel((0, 0)))


def animated(path) -> None:
    IMAGE.save(path, save_all=True, append_images=[IMAGE.rotate(90)])


def rotated(path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by whoever shows it
    IMAGE.rotate(90).save(path, exif=exif, quality=95)


def newline_converted(path) -> None:
    path.write_bytes(b"P5\r\n64 64\r\n255\r\n" + bytes(64 * 64))


def thirty_two_bits(path) -> None:
    Image.fromarray(np.asarray(GREY).astype(np.int32) * 1000).save(path)


def white_is_zero(path) -> None:
    deep = np.asarray(GREY).astype(np.uint16) * 257
    path.write_bytes(tiff(65535 - deep, 16, is_white_zero=True))


DECODED: dict[str, tuple[Any, Any]] = {
    "cmyk.jpg": (cmyk, IMAGE),
    "sixteen_bits.png": (sixteen_bits, GREY),
    "grey.png": (GREY.save, GREY),
    "one_bit.png": (GREY.convert("1").save, GREY.convert("1")),
    "see_through_palette.png": (see_through_palette, None),
    "see_through.png": (IMAGE.convert("RGBA").save, IMAGE),
    "animated.gif": (animated, IMAGE),
    "rotated.jpg": (rotated, IMAGE),
    "white_is_zero.tif": (white_is_zero, GREY),
    "twenty_thousand_wide.png": (IMAGE.resize((20_000, 64)).save, None),
    "naïve 名前 🙂'\".png": (IMAGE.save, IMAGE),
    "a_png_named.jpg": (lambda path: IMAGE.save(path, format="PNG"), IMAGE),
    "a_link.png": (None, IMAGE),
}
SKIPPED = {
    "truncated.jpg": (lambda path: cut(path, IMAGE.resize((256, 256))), "truncated"),
    "truncated.png": (lambda path: cut(path, IMAGE), "cannot be read"),
    "zero_byte.jpg": (lambda path: path.write_bytes(b""), "the file is empty"),
    "a_page.jpg": (lambda path: path.write_text("<html>404</html>"), "cannot identify"),
    "bomb.png": (lambda path: path.write_bytes(png_of(60_000, 60_000)), "too many"),
    "square_of_20000.png": (
        lambda path: path.write_bytes(png_of(20_000, 20_000)),
        "too many pixels; expected at most 89478485",
    ),
    "no_pixels.png": (lambda path: path.write_bytes(png_of(64, 64)), "cannot be read"),
    "newline_converted.pgm": (newline_converted, "newline conversion"),
    "thirty_two_bits.tiff": (thirty_two_bits, "32-bit grey"),
    "one_pixel.png": (IMAGE.crop((0, 0, 1, 1)).save, "1x1 pixels; expected at least"),
    "one_row.png": (
        IMAGE.resize((4000, 1)).save,
        "4000x1 pixels, of which 1x1 are taken; expected at least 16x16 of a face",
    ),
    "one_colour.jpg": (
        IMAGE.crop((0, 0, 20, 20)).save,
        "20x20 pixels of one colour, red 200, green 0, blue 0; expected a face",
    ),
    "a_pipe.png": (os.mkfifo, "not a file"),
    "a_loop.png": (lambda path: path.symlink_to(path), "symbolic links"),
    "a_lost_link.png": (lambda path: path.symlink_to("gone.png"), "No such file"),
}


@pytest.mark.parametrize("name", DECODED)
def test_an_odd_image_is_decoded_as_a_person_would_see_it(tmp_path, name):
    path = tmp_path / name
    write, expected = DECODED[name]
    if name == "a_link.png":
        IMAGE.save(tmp_path / "elsewhere.png")
        path.symlink_to(tmp_path / "elsewhere.png")
    else:
        write(path)
    pixels = decoding.decode(path)
    if name == "twenty_thousand_wide.png":
        assert pixels.shape == (64, 20_000, 3)
        return
    if name == "see_through_palette.png":
        expected = IMAGE.copy()
        expected.paste((0, 0, 0), (0, 0, 32, 32))
    lossy = 12 if path.suffix == ".jpg" else 0
    # JPEG smears the colours over the seams in the middle.
    apart = np.abs(pixels.astype(int) - np.asarray(expected.convert("RGB")))
    seams = np.abs(np.arange(len(pixels)) - 31.5) < 8.5 if lossy else np.array([False])
    assert apart[~seams][:, ~seams].max() <= lossy if lossy else apart.max() == 0


def test_each_damaged_file_is_left_out_with_its_path_and_reason(tmp_path, capsys):
    root = tmp_path / "faces"
    for person, name in enumerate(("ann", "bea")):
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng([person, number]).bytes(16 * 16 * 3)
            image = Image.frombytes("RGB", (16, 16), pixels)
            image.save(root / name / f"{number}.png")
    for name, (write, _) in SKIPPED.items():
        write(root / "ann" / name)
    sets = folder.splits(
        image_size=8, seed=0, root=str(root), record=tmp_path, max_skipped=0.8
    )
    assert sum(map(len, sets.values())) == 8
    rows = [
        json.loads(x) for x in (tmp_path / "skipped.jsonl").read_text().split("\n")[:-1]
    ]
    reasons = {row["path"]: row["reason"] for row in rows}
    assert reasons.keys() == {f"ann/{name}" for name in SKIPPED}
    for name, (_, message) in SKIPPED.items():
        assert message in reasons[f"ann/{name}"]
        assert "\n" not in reasons[f"ann/{name}"]
    out = capsys.readouterr().out
    assert f"images left out: {len(SKIPPED)} of {8 + len(SKIPPED)}, see " in out
    assert not [name for name in SKIPPED if name in out]  # as docs/adaface.md says


def test_a_file_that_may_not_be_read_is_an_error_with_its_name(tmp_path, monkeypatch):
    # Whoever may read everything is not stopped by permissions: the system's answer is
    # given in its place.
    path = tmp_path / "secret.png"
    IMAGE.save(path)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(InputError, match="secret.png: Permission denied; expected"):
        decoding.decode(path)
