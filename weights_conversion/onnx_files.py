"""ONNX files as what they say: nodes with their attributes, and initial tensors.

A file is one protobuf message, of which is read what a network's structure and weights
are: field 7 of the model is its graph; of the graph, 1 are its nodes, 5 its tensors, 11
its inputs, 12 its outputs. Everything else is passed over. A message is a row of
fields, each a key (number * 8 + wire type) and a value: a varint, eight bytes, four
bytes, or a length and so many bytes. All is little-endian.

Nothing is run, and no size that a file declares is believed before the bytes are there.

References:
    ONNX, `onnx/onnx.proto`, and Protocol Buffers, "Encoding": the field numbers.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from sdd_jax.errors import InputError

_FLOAT, _INT64 = 1, 7  # of TensorProto.DataType
_DTYPES = {_FLOAT: np.dtype("<f4"), _INT64: np.dtype("<i8")}
_MOST_AXES = 8
_MOST = 10_000  # nodes and tensors: two bytes of a file could be one
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation of a graph."""

    kind: str  # "Conv", ...
    inputs: tuple[str, ...]  # names of tensors or of other nodes' outputs
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # of numbers and tuples of whole numbers; others None


@dataclasses.dataclass(frozen=True)
class Graph:
    """What a file computes."""

    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]  # float32 or int64
    inputs: tuple[str, ...]  # tensors may be among them
    outputs: tuple[str, ...]


def read(contents: bytes) -> Graph:
    """Return a file's graph.

    Raises:
        InputError: it ends too early, or is no ONNX file. The file is the caller's to
            name.
    """
    view = memoryview(contents)
    graphs = [value for number, value in _fields(view, 0) if number == 7]
    if len(graphs) != 1:
        raise InputError(
            f"found {len(graphs)} graphs, expected the one of an ONNX file"
        )
    nodes: list[Node] = []
    tensors: dict[str, np.ndarray] = {}
    ends: dict[int, list[str]] = {11: [], 12: []}
    for number, value in _fields(*_message(graphs[0])):
        if number in (1, 5) and len(nodes) + len(tensors) == _MOST:
            raise InputError(
                f"found more than {_MOST:,} nodes and tensors, expected a network's"
            )
        if number == 1:
            nodes.append(_node(*_message(value)))
        elif number == 5:
            name, array = _tensor(*_message(value))
            if name in tensors:
                raise InputError(f"found two tensors {ascii(name)}, expected one")
            tensors[name] = array
        elif number in ends:
            names = _texts(1, *_message(value))
            ends[number] += names
    return Graph(tuple(nodes), tensors, tuple(ends[11]), tuple(ends[12]))


# A value that is bytes is handed on with the place where it begins in the file.
_Placed = tuple[memoryview, int]


def _message(value: Any) -> _Placed:
    if not isinstance(value, tuple):
        raise InputError(f"found the number {value}, expected a message")
    return value


def _fields(
    view: memoryview, start: int
) -> Iterator[tuple[int, int | float | _Placed]]:
    """Yield the number and the value of each field of a message.

    Args:
        view: the message.
        start: where it begins in the file.
    """
    place = 0
    while place < len(view):
        at = start + place
        key, place = _varint(view, place, start)
        number, wire = key >> 3, key & 7
        if not number:
            raise InputError(f"at byte {at} found field 0, which no message has")
        if wire == _VARINT:
            value, place = _varint(view, place, start)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(view, place, start)
        elif wire in (_EIGHT, _FOUR):
            length = 8 if wire == _EIGHT else 4
        else:
            raise InputError(
                f"at byte {at} found wire type {wire}, expected 0, 1, 2, 5"
            )
        left = len(view) - place
        if length > left:
            raise InputError(
                f"at byte {start + place} {left} of {length} bytes are left: it is cut "
                f"off or damaged"
            )
        part, began = view[place : place + length], start + place
        place += length
        if wire == _FOUR:
            yield number, struct.unpack("<f", part)[0]
        else:
            yield number, (part, began)


def _varint(view: memoryview, place: int, start: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, lowest first, and the place behind it."""
    value = 0
    for count in range(10):
        if place + count >= len(view):
            break
        byte = view[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    else:
        raise InputError(f"at byte {start + place} found no whole number")
    raise InputError(f"at byte {start + place} a number is cut off")


def _integers(value: Any) -> list[int]:
    """Return a field's whole numbers, signed; it may hold one or many packed."""
    if isinstance(value, int):
        found = [value]
    else:
        view, start = _message(value)
        found, place = [], 0
        while place < len(view):
            one, place = _varint(view, place, start)
            found.append(one)
    return [x - 2**64 if x >= 2**63 else x for x in found]


def _integer(value: Any) -> int:
    found = _integers(value)
    if len(found) != 1:
        raise InputError(f"found {len(found)} whole numbers, expected one")
    return found[0]


def _text(value: Any) -> str:
    view, start = _message(value)
    try:
        return bytes(view).decode()
    except UnicodeDecodeError:
        raise InputError(f"at byte {start} found no text, expected a name") from None


def _texts(wanted: int, view: memoryview, start: int) -> list[str]:
    return [_text(value) for number, value in _fields(view, start) if number == wanted]


def _node(view: memoryview, start: int) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    attributes = {}
    for number, value in _fields(view, start):
        if number in texts:
            texts[number].append(_text(value))
        elif number == 5:
            name, content = _attribute(*_message(value))
            attributes[name] = content
    return Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(view: memoryview, start: int) -> tuple[str, Any]:
    name, single, several = "", None, []
    for number, value in _fields(view, start):
        if number == 1:
            name = _text(value)
        elif number == 2:
            single = value
        elif number == 3:
            single = _integer(value)
        elif number == 8:
            several += _integers(value)
    return name, tuple(several) or single


def _tensor(view: memoryview, start: int) -> tuple[str, np.ndarray]:
    name, shape, kind = "", [], 0
    raw: bytearray | memoryview = bytearray()
    for number, value in _fields(view, start):
        if number == 1:
            shape += _integers(value)
        elif number == 2:
            kind = _integer(value)
        elif number == 4:  # floats, one by one or packed
            is_one = isinstance(value, float)
            raw = raw if isinstance(raw, bytearray) else bytearray(raw)
            raw += struct.pack("<f", value) if is_one else _message(value)[0]
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw, _ = _message(value)
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise InputError(
            f"the tensor {ascii(name)} at byte {start} is of type {kind}, expected "
            f"float32 or int64"
        )
    is_shape = len(shape) <= _MOST_AXES and min(shape, default=1) > 0
    if not is_shape or len(raw) != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"the tensor {ascii(name)} at byte {start} has {len(raw)} bytes, expected "
            f"those of {tuple(shape)}"
        )
    return name, np.frombuffer(raw, dtype).reshape(shape)
