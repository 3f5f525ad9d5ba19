"""Which image format a file is in, told from its first bytes, else from its suffix.

Formats are of two kinds: those that are read, and those that hold images but are not
read here (iPhones' HEIC, camera raw, ...). A file of the second kind is an image that
cannot be read, never "no image": whoever left them out in silence would lose people.
"""

import re
from pathlib import PurePath

from sdd_jax.errors import InputError

# Of the formats that are read.
SUFFIXES = frozenset(
    ".apng .avif .avifs .bmp .dib .gif .j2c .j2k .jfif .jif .jp2 .jpc .jpe .jpeg .jpf "
    ".jpg .jpx .mpo .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
HEAD = 512  # So many bytes tell the format.

_HEIC = "a HEIC image, as iPhones make them"
_RAW = "a camera's raw file"
_TIFF = "a TIFF or a camera's raw file, which begin alike"
_OTHER = "an image of another format than the known ones"
_UNREAD_SUFFIXES: dict[str, str] = {
    suffix: format
    for format, suffixes in {
        _HEIC: ".heic .heics .heif .heifs .hif",
        _RAW: ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos "
        ".mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
        _OTHER: ".exr .hdr .jxl .jxr .pcx .psb .psd .sgi .tga .wdp .xcf",
    }.items()
    for suffix in suffixes.split()
}
_TO_JPEG = (
    "convert it to JPEG and remove it, such as with ImageMagick: magick mogrify "
    "-format jpg"
)
_WAYS_OUT = {
    _HEIC: f"{_TO_JPEG} *.heic; an iPhone that is set to 'Most Compatible' makes JPEG",
    _RAW: "convert it to JPEG in the camera's program, and remove it",
    _TIFF: "call it .tif if it is one",
    _OTHER: _TO_JPEG + " FILE",
}
_READ_SIGNATURES = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"  # BMP
    rb"|RIFF.{4}WEBP"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"  # JPEG 2000
    # PBM, PGM and PPM: a text that begins so has no two numbers there.
    rb"|P[1-6](?:\s|\#[^\n]*\n)+\d+(?:\s|\#[^\n]*\n)+\d+\s",
    re.DOTALL,
)
_UNREAD_SIGNATURES = {
    _RAW: re.compile(
        rb"II\*\0.{4}CR|IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAP|FUJIFILMCCD-RAW|FOVb|\0MRM",
        re.DOTALL,
    ),
    _TIFF: re.compile(rb"II[*+]\0|MM\0[*+]"),
    _OTHER: re.compile(
        rb"\xff\x0a|\0\0\0\x0cJXL |8BPS\0[\x01\x02]|v/1\x01|gimp xcf |#\?RADIANCE"
        rb"|II\xbc"
    ),
}
_HEIC_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split()
)


def is_called_image(name: str) -> bool:
    """Return whether a file's suffix is an image's, of a format that is read or not."""
    suffix = PurePath(name).suffix.lower()
    return suffix in SUFFIXES or suffix in _UNREAD_SUFFIXES


def is_image(head: bytes) -> bool:
    """Return whether first bytes are an image's, of a format that is read or not."""
    return bool(_READ_SIGNATURES.match(head) or _is_avif(head) or _unread(head))


def check(name: str, contents: bytes) -> None:
    """Raise InputError where an image is of a format that is not read.

    The first bytes count, since many a HEIC image is called .jpg and many a JPEG .heic.
    The suffix counts where they say nothing.

    Args:
        name: The file's name, or its path.
        contents: All of them, or the first.
    """
    format = _refused(name, contents)
    if format:
        raise InputError(f"{name}: {format}: it cannot be read; {_WAYS_OUT[format]}")


def _refused(name: str, contents: bytes) -> str:
    """Return the format of an image that is not read; "" where it may well be."""
    head = contents[:HEAD]
    if _READ_SIGNATURES.match(head) or _is_avif(head):
        return ""
    suffix = PurePath(name).suffix.lower()
    format = _unread(head) or _UNREAD_SUFFIXES.get(suffix, "")
    if format == _TIFF:
        if suffix in SUFFIXES or not suffix:
            return ""
        return _UNREAD_SUFFIXES.get(suffix, _TIFF)
    return format


def _unread(head: bytes) -> str:
    """Return the format, if it is one of those that are not read, or TIFF."""
    for format, signature in _UNREAD_SIGNATURES.items():
        if signature.match(head):
            return format
    brands = _brands(head)
    if brands[:1] == [b"crx "]:  # CR3
        return _RAW
    return _HEIC if _HEIC_BRANDS.intersection(brands) else ""


def _is_avif(head: bytes) -> bool:
    return bool({b"avif", b"avis"}.intersection(_brands(head)))


def _brands(head: bytes) -> list[bytes]:
    """Return what a file of boxes says of itself: its main brand, then the others."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4]), len(head))
    return [head[start : start + 4] for start in (8, *range(16, end, 4))]
