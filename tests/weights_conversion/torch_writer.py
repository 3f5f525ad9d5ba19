"""Writes files as an attacker or an old torch.save would, without PyTorch.

The tests' own means, on top of the writer of the project.
"""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from weights_conversion.torch_writing import (
    ORDERED_DICT,
    STORAGES,
    Call,
    Global,
    Outside,
    instructions,
    pickled,
    tensors_and_storages,
)

contiguous = tensors_and_storages


def tensor(storage, key, *, size=None, stride=None, offset=0, numel=None):
    """Return a tensor that lies in a flat array."""
    kind = Global("torch", STORAGES[storage.dtype])
    numel = len(storage) if numel is None else numel
    return Call(
        Global("torch._utils", "_rebuild_tensor_v2"),
        (
            Outside(("storage", kind, key, "cpu", numel)),
            offset,
            (numel,) if size is None else size,
            (1,) if stride is None else stride,
            False,
            Call(ORDERED_DICT),
        ),
    )


def parameter(value: Call) -> Call:
    function = Global("torch._utils", "_rebuild_parameter")
    return Call(function, (value, True, Call(ORDERED_DICT)))


def pickled_with(value: dict, state: dict | None) -> bytes:
    """Return a pickle of a dict, the trainer's state in it by Python's own pickler."""
    items = b"".join(
        # Without its head and its end a pickle leaves its value on the stack.
        instructions(name) + pickle.dumps(each, protocol=2)[2:-1]
        for name, each in (state or {}).items()
    )
    content = pickled(value)
    return content[:-2] + items + content[-2:] if state else content


def write_zip(
    path: Path,
    value: Any,
    storages=None,
    *,
    state=None,
    content=None,
    extra=None,
    **options,
) -> Path:
    content = pickled_with(value, state) if content is None else content
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, storage in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", storage.tobytes())
        for name, more in (extra or {}).items():
            archive.writestr(name, more)
    return path


def write_legacy(path: Path, value: Any, storages=None, *, state=None) -> Path:
    storages = storages or {}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    # The magic number needs more than the nine bytes of `instructions`.
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    parts = [magic, pickled(1001), pickled(system)]
    parts.append(pickled_with(value, state))
    parts.append(pickled(list(storages)))
    for storage in storages.values():
        parts += [struct.pack("<q", len(storage)), storage.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
