"""PyTorch's `.ckpt` and `.pt` files -> NumPy arrays, without PyTorch.

Both layouts that `torch.save` has written since 0.4: a zip archive of a pickle and one
uncompressed entry a storage, and the older row of pickles with the storages behind.
Of a Lightning file only the state dict is read. Everything else is passed over as
data; no code of the file is run and nothing that it names is imported.

Sizes are compared with the bytes that are there before an array is made. Storages are
little-endian, each read once however many tensors share it. Wrong weights of the right
sizes cannot be told from right ones.
"""

import dataclasses
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from sdd_jax.errors import InputError
from weights_conversion import pickles
from weights_conversion.pickles import Call, Name

MAX_PICKLE = 64 * 1024**2  # bytes; IR-101's takes 100,000

_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_PARAMETER = "torch._utils._rebuild_parameter"
# What published files hold beside their tensors: hyper-parameters, callbacks, the
# optimiser. It is passed over, so a name's place here says only that it is no surprise.
_PASSED_OVER = {
    *"argparse.Namespace collections.OrderedDict collections.defaultdict".split(),
    *"_codecs.encode copyreg._reconstructor copy_reg._reconstructor".split(),
    *"pathlib.Path pathlib.PosixPath pathlib.WindowsPath pathlib.PurePath".split(),
    *"pathlib.PurePosixPath pathlib.PureWindowsPath typing.Any".split(),
    *"datetime.datetime datetime.date datetime.timedelta".split(),
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in "bool bytearray bytes complex dict float frozenset int list object "
        "set slice str tuple unicode".split()
    ),
    *(
        f"numpy.{name}"
        for name in "dtype ndarray core.multiarray.scalar _core.multiarray.scalar "
        "core.multiarray._reconstruct _core.multiarray._reconstruct".split()
    ),
    *(
        f"torch.{name}"
        for name in "Size device float32 float64 float16 bfloat16 int64 int32 int16 "
        "int8 uint8 bool".split()
    ),
}
_PASSED_OVER_PACKAGES = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "torchmetrics.",
    "omegaconf.",
    "torch.optim.",
)
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


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, or of the one under "state_dict".

    Raises:
        InputError: the file is damaged, is of another kind, or its pickle names what a
            file of weights has no use for.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        reader = _read_zip if start[:2] == b"PK" else _read_legacy
        return reader(path)
    except (OSError, InputError, *_DAMAGED) as error:
        way_out = "download it again"
        if isinstance(error, (OSError, InputError)):
            way_out = (
                "expected weights as published or saved alone: "
                "torch.save(model.state_dict(), PATH)"
            )
        raise InputError(
            f"{path} cannot be used: {str(error) or 'it is damaged'}; nothing of it "
            f"was run: {way_out}"
        ) from None


def _is_known(name: str) -> bool:
    return (
        name in _PASSED_OVER
        or name in (*_TENSORS, _PARAMETER)
        or name.removeprefix("torch.") in _STORAGES
        or name.startswith(_PASSED_OVER_PACKAGES)
    )


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with _opened(path) as archive:
        entries = _checked_entries(archive, path.stat().st_size)
        found = [n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(found) != 1:
            raise InputError(f"the archive holds {len(found)} data.pkl, expected one")
        folder = found[0].removesuffix("data.pkl")
        if (size := entries[found[0]].file_size) > MAX_PICKLE:
            raise InputError(f"its pickle has {size:,} bytes, expected {MAX_PICKLE:,}")
        order = f"{folder}byteorder"
        if order in entries and archive.read(order)[:8] != b"little":
            raise InputError("its storages are not little-endian")
        storages = _Storages()
        stream = BytesIO(archive.read(found[0]))
        root = pickles.read(stream, _is_known, storages.declare)

        def contents(storage: _Storage) -> bytes:
            entry = entries.get(f"{folder}data/{storage.key}")
            storage.expect(entry.file_size if entry else 0)
            return archive.read(f"{folder}data/{storage.key}")

        return _state_dict(root, contents)


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
            raise InputError(f"the archive holds {_short(name)} twice")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise InputError(f"the archive's entry {_short(name)} leaves its folder")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise InputError(f"the archive's entry {_short(name)} is compressed")
        entries[name] = entry
    # Entries that overlap could hold more than the file.
    if sum(entry.file_size for entry in entries.values()) > file_size:
        raise InputError(f"the archive declares more than its {file_size:,} bytes")
    return entries


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    # In memory, where a declared length cannot ask for more than there is.
    stream = BytesIO(path.read_bytes())
    storages = _Storages()
    magic, version, system, root, keys = (
        pickles.read(stream, _is_known, storages.declare) for _ in range(5)
    )
    if (magic, version) != (0x1950A86A20F9469CFC6C, 1001):
        raise InputError("found neither of the layouts that torch.save writes")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its storages are not little-endian")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.by_key):
        raise InputError("the list of its storages does not fit its pickle")
    contents = {}
    for key in keys:
        storage = storages.by_key[key]
        count = int.from_bytes(stream.read(8), "little")
        left = len(stream.getbuffer()) - stream.tell()
        storage.expect(min(count * storage.dtype.itemsize, left))
        contents[key] = stream.read(storage.num_bytes)
    return _state_dict(root, lambda storage: contents[storage.key])


@dataclasses.dataclass(frozen=True)
class _Storage:
    """The bytes that tensors lie in, as the pickle declares them."""

    key: str
    dtype: np.dtype
    size: int

    @property
    def num_bytes(self) -> int:
        return self.size * self.dtype.itemsize

    def expect(self, found: int) -> None:
        if found != self.num_bytes:
            raise ValueError(
                f"storage {_short(self.key)} has {found:,} bytes, but the pickle "
                f"declares {self.num_bytes:,}"
            )


class _Storages:
    """The storages that a pickle declares, each of one type and one size."""

    def __init__(self):
        self.by_key: dict[str, _Storage] = {}

    def declare(self, persistent_id: Any) -> _Storage:
        match persistent_id:
            # A sixth value, of old files, would be a view of another storage.
            case ("storage", Name(name), str(key), str(), int(size)) | (
                "storage",
                Name(name),
                str(key),
                str(),
                int(size),
                None,
            ) if size >= 0 and name.removeprefix("torch.") in _STORAGES:
                storage = _Storage(key, _STORAGES[name.removeprefix("torch.")], size)
            case _:
                raise InputError("its pickle refers to something that is no storage")
        first = self.by_key.setdefault(key, storage)
        if first != storage:
            raise InputError(
                f"storage {_short(key)} is declared in two ways: {first.size:,} "
                f"{first.dtype} and {size:,} {storage.dtype}"
            )
        return storage


def _state_dict(
    root: Any, contents: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    """Return the tensors by name; every storage is asked for once."""
    state = root.get("state_dict", root) if isinstance(root, dict) else root
    if not isinstance(state, dict) or not state:
        raise InputError("found no state dict in it")
    flat: dict[str, np.ndarray] = {}

    def tensor(name: str, value: Any) -> np.ndarray:
        match value:
            case Call(function, (Call() as inner, *_)) if function == _PARAMETER:
                return tensor(name, inner)
            case Call(function, (_Storage() as storage, offset, size, stride, *_)) if (
                function in _TENSORS
            ):
                _check_bounds(name, storage, offset, size, stride)
                if storage.key not in flat:
                    flat[storage.key] = np.frombuffer(contents(storage), storage.dtype)
                strides = [step * storage.dtype.itemsize for step in stride]
                return np.lib.stride_tricks.as_strided(
                    flat[storage.key][offset:], size, strides, writeable=False
                )
        made = f"a {value.name}" if isinstance(value, Call) else type(value).__name__
        raise InputError(f"{_short(name)} of the state dict is {made}, not a tensor")

    return {name: tensor(name, value) for name, value in state.items()}


def _check_bounds(
    name: str, storage: _Storage, offset: Any, size: Any, stride: Any
) -> None:
    """Refuse a tensor that reaches out of its storage or repeats parts of it."""
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise InputError(f"{_short(name)} has sizes or strides that are no tuples")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 8:
        raise InputError(f"{_short(name)} has {len(size)} sizes, {len(stride)} strides")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise InputError(f"{_short(name)} has sizes or strides that are no counts")
    count = math.prod(size)
    steps = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    end = offset + steps + 1 if count else offset
    # Repeats, of stride 0, could ask for any amount of memory when they are copied.
    if end > storage.size or count > storage.size:
        raise InputError(
            f"{_short(name)} declares {count:,} values up to number {end:,} of a "
            f"storage of {storage.size:,}"
        )


def _short(text: str) -> str:
    """Return what a file chose to write on one line, cut."""
    return ascii(text[:100])
