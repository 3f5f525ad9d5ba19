import io
import re

import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import decoding, formats


def ftyp(*brands: bytes) -> bytes:
    """Return the beginning of a file of boxes, its main brand first."""
    first, *others = brands
    box = b"ftyp" + first + b"\0\0\0\0" + b"".join(others)
    return (4 + len(box)).to_bytes(4) + box + b"\0\0\0\x08meta"


def written(format: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(stream, format)
    return stream.getvalue()


READ = "AVIF BMP GIF JPEG JPEG2000 PNG PPM WEBP".split()
UNREAD = {
    "heic": (ftyp(b"heic", b"mif1", b"heic"), "a HEIC image"),
    "heix": (ftyp(b"heix", b"mif1"), "a HEIC image"),
    "mif1": (ftyp(b"mif1", b"heic"), "a HEIC image"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw file"),
    "cr3": (ftyp(b"crx ", b"isom"), "a camera's raw file"),
    "raf": (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
    "orf": (b"IIRO\x08\0\0\0", "a camera's raw file"),
    "jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", "an image of another format"),
    "psd": (b"8BPS\0\1\0\0", "an image of another format"),
}
NO_IMAGES = {
    "mov": ftyp(b"qt  "),
    "mp4": ftyp(b"isom", b"mp41"),
    "text": b"BMW and P5 cars, II* and more",
    "pgm_like_text": b"P5 comes first\n1 2 3",
    "json": b'{"path": 1}',
    "empty": b"",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\3\4",
}


@pytest.mark.parametrize("format", READ)
def test_an_image_is_known_by_its_first_bytes_and_read_under_any_name(format):
    contents = written(format)
    assert formats.is_image(contents[: formats.HEAD])
    for name in ("a", "a.heic", "a.nef", "a.xyz"):
        assert decoding.decode(contents, name).shape == (8, 8, 3)


def test_the_plain_kinds_of_pnm_and_their_remarks_are_images():
    for head in (b"P1 2 2\n", b"P2\n# GIMP\n2 2\n255\n", b"P4\n8\t8\n"):
        assert formats.is_image(head)


@pytest.mark.parametrize("kind", UNREAD)
def test_an_image_of_a_format_that_is_not_read_says_so_under_any_name(kind):
    contents, message = UNREAD[kind]
    assert formats.is_image(contents)
    for name in ("a.jpg", "a", f"a.{kind}"):
        with pytest.raises(InputError, match=f"^{re.escape(name)}: {message}.* it can"):
            decoding.decode(contents, name)


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_none(kind):
    assert not formats.is_image(NO_IMAGES[kind])


def test_a_heic_image_comes_with_its_own_way_out():
    with pytest.raises(InputError) as caught:
        decoding.decode(UNREAD["heic"][0], "ann/1.HEIC")
    assert str(caught.value) == (
        "ann/1.HEIC: a HEIC image, as iPhones make them: it cannot be read; convert it "
        "to JPEG and remove it, such as with ImageMagick: magick mogrify -format jpg "
        "*.heic; an iPhone that is set to 'Most Compatible' makes JPEG"
    )


def test_an_avif_image_whose_main_brand_is_the_general_one_is_none_of_heic():
    formats.check("a.avif", ftyp(b"mif1", b"avif", b"miaf"))


@pytest.mark.parametrize("suffix", ["heic", "nef", "psd"])
def test_the_suffix_counts_where_the_bytes_say_nothing(suffix):
    with pytest.raises(InputError, match="it cannot be read; convert it to JPEG"):
        decoding.decode(b"nonsense", f"a.{suffix}")
    with pytest.raises(InputError, match="the file is empty"):
        decoding.decode(b"", f"a.{suffix}")


def test_tiff_is_read_but_under_a_name_that_may_be_a_cameras():
    contents = written("TIFF")
    for name in ("a.tif", "a.TIFF", "a", "a.jpg"):
        assert decoding.decode(contents, name).shape == (8, 8, 3)
    with pytest.raises(InputError, match="a.NEF: a camera's raw file"):
        decoding.decode(contents, "a.NEF")
    with pytest.raises(InputError, match="begin alike: .*; call it .tif if it is one"):
        decoding.decode(contents, "a.bak")
