"""ONNX's protobuf, written by hand."""

import struct

import numpy as np


def varint(number):
    number %= 2**64
    head = b""
    while number > 127:
        head, number = head + bytes([number & 127 | 128]), number >> 7
    return head + bytes([number])


def whole(field, number):
    return varint(8 * field) + varint(number)


def part(field, contents):
    return varint(8 * field + 2) + varint(len(contents)) + contents


def real(field, number):
    return varint(8 * field + 5) + struct.pack("<f", number)


def tensor(name, array, kind=1):
    dims = b"".join(whole(1, size) for size in array.shape)
    return part(5, dims + whole(2, kind) + part(8, name) + part(9, array.tobytes()))


ATTRIBUTES = (
    part(5, part(1, b"epsilon") + real(2, 0.5) + whole(20, 1)),
    part(5, part(1, b"group") + whole(3, 300)),
    part(5, part(1, b"axis") + whole(3, -1)),
    part(5, part(1, b"pads") + whole(8, 1) + whole(8, 2)),
    part(5, part(1, b"strides") + part(8, varint(2) + varint(200))),
)
NODE = part(1, b"data") + part(1, b"w") + part(2, b"out") + part(4, b"Conv")
NODE = part(1, NODE + b"".join(ATTRIBUTES))
WEIGHTS = np.arange(6, dtype="<f4").reshape(2, 3)
ENDS = part(11, part(1, b"data")) + part(12, part(1, b"out"))
GRAPH = NODE + part(2, b"a name") + tensor(b"w", WEIGHTS) + ENDS
MODEL = whole(1, 8) + part(2, b"a producer") + part(7, GRAPH)


def model(graph):
    return part(7, graph)
