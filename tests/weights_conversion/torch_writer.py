"""Writes files as torch.save does, and as an attacker would, without PyTorch."""

import dataclasses
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype("f4"): "FloatStorage",
    np.dtype("f8"): "DoubleStorage",
    np.dtype("f2"): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype("i8"): "LongStorage",
}


@dataclasses.dataclass(frozen=True)
class Global:
    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    function: Global
    arguments: tuple = ()
    state: Any = None


@dataclasses.dataclass(frozen=True)
class Outside:
    persistent_id: Any


ORDERED_DICT = Global("collections", "OrderedDict")


def instructions(value: Any) -> bytes:
    """Return what leaves the value on the stack, in protocol 2."""
    many = lambda values: b"".join(map(instructions, values))  # noqa: E731
    match value:
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            content = value.to_bytes(9, "little", signed=True)
            return b"\x8a\x09" + content
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + many(value) + b"t"
        case list():
            return b"](" + many(value) + b"e"
        case dict():
            return b"}(" + many(x for item in value.items() for x in item) + b"u"
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments, state):
            made = instructions(function) + instructions(arguments) + b"R"
            return made + (instructions(state) + b"b" if state is not None else b"")
        case Outside(persistent_id):
            return instructions(persistent_id) + b"Q"
    raise TypeError(value)


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + instructions(value) + b"."


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


def contiguous(arrays):
    """Return tensors in storages of their own, and the storages."""
    storages = {
        str(i): np.ascontiguousarray(array).reshape(-1)
        for i, array in enumerate(arrays.values())
    }
    tensors = {}
    for (name, array), (key, storage) in zip(
        arrays.items(), storages.items(), strict=True
    ):
        strides = tuple(
            s // array.itemsize for s in np.ascontiguousarray(array).strides
        )
        strides = strides if array.ndim else ()
        tensors[name] = tensor(storage, key, size=array.shape, stride=strides)
    return tensors, storages


def write_zip(path: Path, value: Any, storages=None, *, extra=None, **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled(value))
        archive.writestr("archive/byteorder", "little")
        for key, storage in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", storage.tobytes())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def write_legacy(path: Path, value: Any, storages=None) -> Path:
    storages = storages or {}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    # The magic number needs more than the nine bytes of `instructions`.
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    parts = [magic, pickled(1001), pickled(system), pickled(value)]
    parts.append(pickled(list(storages)))
    for storage in storages.values():
        parts += [struct.pack("<q", len(storage)), storage.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
