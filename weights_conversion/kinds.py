"""What a file is by its first bytes, and by its suffix where they do not tell.

Only what is unmistakable is told by its bytes: a file is often renamed, and what a
download leaves in its place has the right suffix. A damaged file is left to the reader
that its suffix asks for, which says what is wrong with it.
"""

from pathlib import Path
from typing import Literal

from sdd_jax.errors import InputError

Kind = Literal["torch", "safetensors", "dlib", "onnx"]

SUFFIXES: dict[str, Kind] = {
    ".ckpt": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".safetensors": "safetensors",
    ".dat": "dlib",
    ".onnx": "onnx",
}
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9"  # the older torch.save's number
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")


def of(path: Path) -> Kind:
    """Return which reader a file needs.

    Raises:
        InputError: it is empty, a folder, unmistakably something else, or unknown.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; expected a file of weights: give the one in it, or "
            f"download it again"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except OSError:
        return _by_suffix(path)  # whose reader will meet the error too, and tell
    if not start:
        raise InputError(f"{path} is empty; expected weights: download them again")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "a web page", "download the weights again, past what the page asks"
    elif text.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer", "fetch what it points to: git lfs pull"
    elif start.startswith(_PACKED) or start[257:262] == b"ustar":
        found = "a packed archive", "unpack it, and give the file of weights in it"
    elif is_safetensors(start):
        return "safetensors"
    elif start.startswith((b"PK\x03\x04", _LEGACY)):
        return "torch"
    else:
        return _by_suffix(path)
    looks, way_out = found
    raise InputError(f"{path} looks like {looks}, not like weights: {way_out}")


def _by_suffix(path: Path) -> Kind:
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        adaface = [s for s in SUFFIXES if s not in (".dat", ".onnx")]
        raise InputError(
            f"{path} is not a known kind of weights: expected dlib's "
            f"dlib_face_recognition_resnet_model_v1.dat, OpenCV's "
            f"face_recognition_sface_2021dec.onnx, or AdaFace's {', '.join(adaface)}, "
            f"by its contents or name"
        )
    return kind


def is_safetensors(start: bytes) -> bool:
    """Return whether a file begins with the length of a header in JSON, and JSON."""
    # The format's own limit; it also keeps pickles and archives apart.
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000
