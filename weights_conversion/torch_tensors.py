"""The tensors in a pickle of PyTorch's -> NumPy arrays that lie in its storages.

Sizes are compared with the bytes that are there before an array is made. Storages are
little-endian, each read once however many tensors share it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sdd_jax.errors import InputError
from weights_conversion.pickles import Call, Name

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
    # No weights, but what may lie beside them.
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
    "QInt8Storage": np.dtype("i1"),
    "QUInt8Storage": np.dtype("u1"),
    "QInt32Storage": np.dtype("<i4"),
    "UntypedStorage": np.dtype("u1"),
}
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
)
MOST_AXES = 8
_TOP = 2**59  # values: 2**63 bytes of the largest type
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"


@dataclasses.dataclass(frozen=True)
class Storage:
    """The bytes that tensors lie in, as the pickle declares them."""

    key: str
    dtype: np.dtype
    size: int

    @property
    def num_bytes(self) -> int:
        """What it takes."""
        return self.size * self.dtype.itemsize

    def expect(self, found: int) -> None:
        """Raise ValueError unless so many bytes of it were found."""
        if found != self.num_bytes:
            raise ValueError(
                f"storage {short(self.key)} has {found:,} bytes, but the pickle "
                f"declares {self.num_bytes:,}"
            )


class Storages:
    """The storages that a pickle declares, each of one type and one size."""

    def __init__(self):
        """Start with none."""
        self.by_key: dict[str, Storage] = {}

    def declare(self, persistent_id: Any) -> Storage:
        """Return the storage that a persistent id stands for.

        Raises:
            InputError: it stands for something else, or is known as another one.
        """
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
                storage = Storage(key, _STORAGES[name.removeprefix("torch.")], size)
            case _:
                raise InputError("its pickle refers to something that is no storage")
        first = self.by_key.setdefault(key, storage)
        if first != storage:
            raise InputError(
                f"storage {short(key)} is declared in two ways: {first.size:,} "
                f"{first.dtype} and {size:,} {storage.dtype}"
            )
        return storage


def plain(value: Any) -> Call | None:
    """Return the call that makes a plain tensor, or None where a value is no tensor."""
    match value:
        case Call(function, (Call() as inner, *_)) if function in _PARAMETERS:
            return plain(inner)
        case Call(function, (Name(text), _, tuple() as arguments, *_)) if (
            function == _SUBCLASS
        ):
            return plain(Call(text, arguments))
        case Call(function, (Storage(), _, _, _, *_)) if function in _TENSORS:
            return value
    return None


class Reader:
    """Makes arrays of tensors; every storage is asked for once."""

    def __init__(self, contents: Callable[[Storage], bytes]):
        """Start with a function that returns a storage's bytes."""
        self.contents = contents
        self.flat: dict[str, np.ndarray] = {}

    def array(self, name: str, tensor: Call) -> np.ndarray:
        """Return a view of the storage that a plain tensor lies in.

        Args:
            name: what an error calls it.
            tensor: from `plain`.

        Raises:
            InputError: it reaches out of its storage.
        """
        check_bounds(name, tensor)
        storage, offset, size, stride, *_ = tensor.arguments
        if storage.key not in self.flat:
            content = self.contents(storage)
            self.flat[storage.key] = np.frombuffer(content, storage.dtype)
        strides = [step * storage.dtype.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(
            self.flat[storage.key][offset:], size, strides, writeable=False
        )


def check_bounds(name: str, tensor: Call) -> None:
    """Refuse a plain tensor that reaches out of its storage or repeats parts of it."""
    storage, offset, size, stride, *_ = tensor.arguments
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise InputError(f"{short(name)} has sizes or strides that are no tuples")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > MOST_AXES:
        raise InputError(f"{short(name)} has {len(size)} sizes, {len(stride)} strides")
    if not is_shape(size) or not all(map(_is_count, numbers)):
        raise InputError(f"{short(name)} has sizes or strides that are no counts")
    count = math.prod(size)
    steps = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    end = offset + steps + 1 if count else offset
    # Repeats, of stride 0, could ask for any amount of memory when they are copied.
    if end > storage.size or count > storage.size:
        raise InputError(
            f"{short(name)} declares {count:,} values up to number {end:,} of a "
            f"storage of {storage.size:,}"
        )


def is_shape(size: Sequence[Any]) -> bool:
    """Return whether an array can have these sizes, whatever its type."""
    # Empty ones too: NumPy looks at the product of the other sizes.
    product = math.prod(x for x in size if x) if all(map(_is_count, size)) else _TOP
    return len(size) <= MOST_AXES and product < _TOP


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < _TOP


def short(text: str) -> str:
    """Return what a file chose to write on one line, cut."""
    return ascii(text[:100])
