"""What a file looks like by its first bytes, whatever its name says.

Only what is unmistakable is named: published weights under another suffix, and what a
download leaves in their place. A damaged or unknown file is left to the reader that its
suffix asks for, which says what is wrong with it.
"""

from pathlib import Path

from sdd_jax.errors import InputError

_TORCH = (".ckpt", ".pt", ".pth")


def check(path: Path) -> None:
    """Compare what a file is with what its suffix says.

    Raises:
        InputError: it is empty, a folder or unmistakably something else.
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
        return  # which the reader will meet too, and tell
    if not start:
        raise InputError(f"{path} is empty; expected weights: download them again")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "a web page", "download the weights again, past what the page asks"
    elif text.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer", "fetch what it points to: git lfs pull"
    elif is_safetensors(start) and path.suffix != ".safetensors":
        found = "a safetensors file", "rename it to .safetensors"
    elif start.startswith(b"PK\x03\x04") and path.suffix not in _TORCH:
        found = "a zip archive, as torch.save writes", "rename it to .pt or .ckpt"
    elif start.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9") and (
        path.suffix not in _TORCH
    ):
        found = "a file of the older torch.save", "rename it to .pt or .ckpt"
    else:
        return
    looks, way_out = found
    says = f"not like the {path.suffix} that its name says"
    if not path.suffix:
        says = "and its name has no suffix that says so"
    raise InputError(f"{path} looks like {looks}, {says}: {way_out}")


def is_safetensors(start: bytes) -> bool:
    """Return whether a file begins with the length of a header in JSON, and JSON."""
    # The format's own limit; it also keeps pickles and archives apart.
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000
