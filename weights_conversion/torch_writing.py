"""NumPy arrays -> the zip archive that `torch.save` writes, without PyTorch.

Each array becomes a contiguous tensor on the CPU in a storage of its own. The pickle,
of protocol 2, has only what `torch.load(path, weights_only=True)` accepts. The same
arrays give the same bytes: no date, no name of a machine. Storages start at multiples
of 64 bytes, as PyTorch's own do, but for those above 2 GB.
"""

import dataclasses
import struct
import zipfile
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

import jax.numpy as jnp
import numpy as np

STORAGES = {
    np.dtype("<f4"): "FloatStorage",
    np.dtype("<f8"): "DoubleStorage",
    np.dtype("<f2"): "HalfStorage",
    np.dtype(jnp.bfloat16): "BFloat16Storage",
    np.dtype("<i8"): "LongStorage",
}
ALIGNMENT = 64

_FOLDER = "archive"


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that the reader looks up."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """An object that the reader makes."""

    function: Global
    arguments: tuple = ()
    state: Any = None


@dataclasses.dataclass(frozen=True)
class Outside:
    """What lies outside the pickle, by its persistent id."""

    persistent_id: Any


ORDERED_DICT = Global("collections", "OrderedDict")


def instructions(value: Any) -> bytes:
    """Return what leaves a value on a pickle's stack, in protocol 2.

    Raises:
        TypeError: the value is of a type that no file of weights needs.
    """
    match value:
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(instructions, value)) + b"t"
        case list():
            return b"](" + b"".join(map(instructions, value)) + b"e"
        case dict():
            items = [part for item in value.items() for part in item]
            return b"}(" + b"".join(map(instructions, items)) + b"u"
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments, state):
            made = instructions(function) + instructions(arguments) + b"R"
            return made + (instructions(state) + b"b" if state is not None else b"")
        case Outside(persistent_id):
            return instructions(persistent_id) + b"Q"
    raise TypeError(f"a {type(value).__name__} is nothing for a file of weights")


def pickled(value: Any) -> bytes:
    """Return a whole pickle."""
    return b"\x80\x02" + instructions(value) + b"."


def tensors_and_storages(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, Call], dict[str, np.ndarray]]:
    """Return a state dict, and the flat arrays that its tensors lie in by their key."""
    tensors, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        flat = np.ascontiguousarray(array).reshape(-1)
        key = str(number)
        kind = Global("torch", STORAGES[flat.dtype])
        strides = [1]
        for size in array.shape[:0:-1]:
            strides.insert(0, strides[0] * size)
        tensors[name] = Call(
            Global("torch._utils", "_rebuild_tensor_v2"),
            (
                Outside(("storage", kind, key, "cpu", len(flat))),
                0,
                array.shape,
                tuple(strides[: array.ndim]),
                False,
                Call(ORDERED_DICT),
            ),
        )
        storages[key] = flat
    return tensors, storages


def write_zip(
    stream: BufferedIOBase, value: Any, storages: Mapping[str, np.ndarray]
) -> None:
    """Write an archive of a value and the storages it refers to."""
    with zipfile.ZipFile(stream, "w") as archive:
        _add(archive, "data.pkl", memoryview(pickled(value)))
        _add(archive, "byteorder", memoryview(b"little"))
        for key, storage in storages.items():
            _add(archive, f"data/{key}", storage.view(np.uint8).data)
        _add(archive, "version", memoryview(b"3\n"))


def _add(archive: zipfile.ZipFile, name: str, content: memoryview) -> None:
    entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    entry.file_size = content.nbytes
    # The content follows a header of 30 bytes, the name and the padding, which is an
    # extra field (PyTorch's "FB") of a head of 4 bytes and what it takes.
    assert archive.fp is not None
    before = archive.fp.tell() + 30 + len(entry.filename) + 4
    padding = -before % ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"\0" * padding
    with archive.open(entry, "w") as stream:
        stream.write(content)
