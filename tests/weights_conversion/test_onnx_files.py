"""ONNX's protobuf, written by hand: what is read of it, and what is refused."""

import re

import numpy as np
import pytest
from onnx_writer import MODEL, WEIGHTS, model, part, real, tensor, varint, whole

from sdd_jax.errors import InputError
from weights_conversion import onnx_files


def refusal_of(contents):
    with pytest.raises(InputError) as caught:
        onnx_files.read(contents)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_graph_is_its_nodes_and_tensors():
    graph = onnx_files.read(MODEL)
    [node] = graph.nodes
    assert (node.kind, node.inputs, node.outputs) == ("Conv", ("data", "w"), ("out",))
    assert node.attributes == {
        "epsilon": 0.5,
        "group": 300,
        "axis": -1,
        "pads": (1, 2),
        "strides": (2, 200),
    }
    assert list(graph.tensors) == ["w"]
    np.testing.assert_array_equal(graph.tensors["w"], WEIGHTS)
    assert (graph.inputs, graph.outputs) == (("data",), ("out",))


@pytest.mark.parametrize("packed", [True, False])
def test_floats_may_be_in_a_field_of_their_own(packed):
    values = np.array([1.5, -2.0], "<f4")
    floats = b"".join(real(4, x) for x in values)
    floats = part(4, values.tobytes()) if packed else floats
    head = whole(1, 2) + whole(2, 1) + part(8, b"w")
    graph = onnx_files.read(model(part(5, head + floats)))
    np.testing.assert_array_equal(graph.tensors["w"], values)


def test_a_file_that_ends_anywhere_is_refused():
    for length in range(len(MODEL)):
        assert refusal_of(MODEL[:length])


def test_no_damaged_byte_is_anything_but_read_or_refused_in_a_line():
    read = 0
    for place in range(len(MODEL)):
        for bit in (1, 4, 64, 128):
            damaged = bytearray(MODEL)
            damaged[place] ^= bit
            try:
                onnx_files.read(bytes(damaged))
                read += 1
            except InputError as error:
                assert "\n" not in str(error)
    assert read  # names and weights are as good as others


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "found 0 graphs, expected the one"),
        (b"\x89PNG\r\n", "wire type 1|are left"),
        (MODEL + MODEL, "found 2 graphs"),
        (b"\x00", "at byte 0 found field 0"),
        (b"\x0f", "at byte 0 found wire type 7"),
        (b"\xff" * 12, "at byte 0 found no whole number"),
        (whole(7, 1), "found the number 1, expected a message"),
        (
            varint(7 * 8 + 2) + varint(2**60) + b"x",
            "at byte 10 1 of 1152921504606846976",
        ),
        (model(tensor(b"w", WEIGHTS, 3)), "'w' at byte .* of type 3, expected float32"),
        (model(2 * tensor(b"w", WEIGHTS)), "two tensors 'w'"),
        (model(tensor(b"w", WEIGHTS, 7)), "'w' .* 24 bytes, expected those of .2, 3."),
        (model(part(5, whole(1, -1) + whole(2, 1))), "expected those of .-1,"),
        (model(part(1, part(4, b"\xff"))), "found no text"),
        (model(part(5, part(1, b""))), "of type 0"),
    ],
)
def test_what_is_wrong_is_said(contents, message):
    assert re.search(message, refusal_of(contents))
