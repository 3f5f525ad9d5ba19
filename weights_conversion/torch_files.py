"""PyTorch's `.ckpt` and `.pt` files -> NumPy arrays, without PyTorch.

Both layouts that `torch.save` has written since 0.4: a zip archive of a pickle and one
uncompressed entry a storage, and the older row of pickles with the storages behind.
Only what the caller wants is read. Everything else, a trainer's state, is passed over
as data; no code of the file is run and nothing that it names is imported. Wrong weights
of the right sizes cannot be told from right ones.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from sdd_jax.errors import InputError
from weights_conversion import parts, pickles
from weights_conversion.parts import Contents
from weights_conversion.torch_tensors import Reader, Storage, Storages, short

_Use = Callable[[Any, Callable[[Storage], bytes]], Contents]

MAX_PICKLE = 64 * 1024**2  # bytes; IR-101's takes 100,000

# What zipfile raises for archives that break its expectations, and is raised here for
# files that came in part.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)


def read(path: Path, is_wanted: Callable[[Iterable[str]], bool]) -> Contents:
    """Return the dicts of tensors that are wanted, and what else is in the file.

    Args:
        path: the file.
        is_wanted: says of the names of a dict's tensors whether it is.

    Raises:
        InputError: the file is damaged, is of another kind, or its pickle names what a
            file of weights has no use for.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        reader = _read_zip if start[:2] == b"PK" else _read_legacy
        return reader(
            path,
            lambda root, contents: parts.of_pickle(
                root, is_wanted, Reader(contents).array
            ),
        )
    except (OSError, InputError, *_DAMAGED) as error:
        way_out = "download it again"
        if isinstance(error, (OSError, InputError)):
            way_out = (
                "expected weights as published or saved alone: "
                "torch.save(model.state_dict(), PATH)"
            )
        # A damaged archive's names may be as long as the file.
        reason = str(error) if isinstance(error, InputError) else str(error)[:300]
        raise InputError(
            f"{path} cannot be used: {reason or 'it is damaged'}; nothing of it "
            f"was run: {way_out}"
        ) from None


def _read_zip(path: Path, use: _Use) -> Contents:
    with _opened(path) as archive:
        entries = _checked_entries(archive, path.stat().st_size)
        found = [n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(found) != 1:
            raise InputError(
                f"the archive holds {len(found)} data.pkl, expected one as torch.save "
                f"writes; it holds {parts.listed(entries, most=3) or 'nothing'}"
            )
        folder = found[0].removesuffix("data.pkl")
        if (size := entries[found[0]].file_size) > MAX_PICKLE:
            raise InputError(f"its pickle has {size:,} bytes, expected {MAX_PICKLE:,}")
        if f"{folder}constants.pkl" in entries:
            raise InputError("it is a program for TorchScript, not a dict of tensors")
        order = f"{folder}byteorder"
        if order in entries and archive.read(order)[:8] != b"little":
            raise InputError("its storages are not little-endian")
        storages = Storages()
        stream = BytesIO(archive.read(found[0]))
        root = pickles.read(stream, storages.declare)

        for key, storage in storages.by_key.items():
            entry = entries.get(f"{folder}data/{key}")
            storage.expect(entry.file_size if entry else 0)
        return use(root, lambda storage: archive.read(f"{folder}data/{storage.key}"))


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        # The list of contents comes last.
        raise zipfile.BadZipFile(
            f"its archive breaks off after {path.stat().st_size:,} bytes"
        ) from None


def _checked_entries(
    archive: zipfile.ZipFile, file_size: int
) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, if they can be what `torch.save` wrote."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        if name in entries:
            raise InputError(f"the archive holds {short(name)} twice")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise InputError(f"the archive's entry {short(name)} leaves its folder")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise InputError(f"the archive's entry {short(name)} is compressed")
        entries[name] = entry
    # Entries that overlap could hold more than the file.
    if sum(entry.file_size for entry in entries.values()) > file_size:
        raise InputError(f"the archive declares more than its {file_size:,} bytes")
    return entries


def _read_legacy(path: Path, use: _Use) -> Contents:
    # In memory, where a declared length cannot ask for more than there is.
    stream = BytesIO(path.read_bytes())
    storages = Storages()
    magic = pickles.read(stream, storages.declare)
    if magic != 0x1950A86A20F9469CFC6C:
        raise InputError("found neither of the layouts that torch.save writes")
    version, system, root, keys = (
        pickles.read(stream, storages.declare) for _ in range(4)
    )
    if version != 1001:
        found = version if type(version) is int else f"a {type(version).__name__}"
        raise InputError(f"found version {found!s:.20} of its layout, expected 1001")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its storages are not little-endian")
    # Not the text of what they hold: lists in lists may be endless when written out.
    is_list = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_list or sorted(keys) != sorted(storages.by_key):
        raise InputError("the list of its storages does not fit its pickle")
    contents = {}
    for key in keys:
        storage = storages.by_key[key]
        count = int.from_bytes(stream.read(8), "little")
        left = len(stream.getbuffer()) - stream.tell()
        storage.expect(min(count * storage.dtype.itemsize, left))
        contents[key] = stream.read(storage.num_bytes)
    return use(root, lambda storage: contents[storage.key])
