"""A `.safetensors` file -> NumPy arrays, of any type that weights have.

The library decides whether a file is sound. It says what is wrong without sizes; those
are read from the header here, after it has refused.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

from sdd_jax.errors import InputError
from weights_conversion import parts
from weights_conversion.parts import Contents
from weights_conversion.torch_tensors import MOST_AXES, is_shape, short

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read(path: Path) -> Contents:
    """Return the file's tensors by name: its one part.

    Raises:
        InputError: the file is damaged or holds tensors of another type.
    """
    content = b""
    try:
        content = path.read_bytes()
        entries = safetensors.deserialize(content)
    except (OSError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split()) + _sizes(content)
        again = "" if isinstance(error, OSError) else ": download them again"
        raise InputError(
            f"{path} cannot be used: {reason}; expected the weights as published{again}"
        ) from None
    tensors = {}
    for name, entry in sorted(entries, key=lambda entry: entry[0]):
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"{path} cannot be used: {ascii(name)} is of type {entry['dtype']}, "
                f"expected {', '.join(_DTYPES)}"
            )
        if not is_shape(entry["shape"]):
            raise InputError(
                f"{path} cannot be used: {short(name)} has the shape "
                f"{str(entry['shape'])[:100]}, expected up to {MOST_AXES} sizes of "
                f"arrays"
            )
        flat = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return parts.of_tensors(tensors)


def _sizes(content: bytes) -> str:
    """Return what a refused file declares beyond its end, or nothing."""
    size = int.from_bytes(content[:8], "little")
    if size > len(content) - 8 > 0:
        return f": its header declares {size:,} bytes, {len(content):,} are there"
    try:
        header = json.loads(content[8 : 8 + size])
        ends = {
            name: entry["data_offsets"][1]
            for name, entry in header.items()
            if name != "__metadata__"
        }
        last = max(ends, key=ends.__getitem__)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return ""
    there = len(content) - 8 - size
    # What is no length of 64 bits, the library has named already.
    if type(ends[last]) is not int or not there < ends[last] < 2**64:
        return ""
    name = ascii(last[:100])
    return f": {name} declares bytes up to {ends[last]:,}, {there:,} are there"
