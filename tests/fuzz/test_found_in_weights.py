"""What fuzzing found in the readers of weights, each by its smallest input.

Times are the processor's, many times what the mended readers take and a fraction of
what they took before.
"""

import io
import json
import re
import struct

import numpy as np
import pytest
import torch_writer
from onnx_writer import model, part, real, whole
from promptness import within
from torch_writer import pickled, write_zip

from sdd_jax.errors import InputError
from weights_conversion import adaface, dlib, onnx_files, parts
from weights_conversion.kinds import Kind

NUMBERS = np.arange(24, dtype=np.float32)
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
FIRST = "input_layer.0.weight"


def refusal_of(path, kind: Kind = "torch"):
    """Return why a file is refused, within a second."""

    def refused():
        with pytest.raises(InputError) as caught:
            adaface.load(path, kind)
        return str(caught.value)

    message = within(1, refused)
    assert "\n" not in message
    return message


def safetensors(path, header, num_bytes=0):
    content = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(num_bytes))
    return path


def entry(*shape, num_bytes=0):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [0, num_bytes]}


@pytest.mark.parametrize("shape", [(0, 2**64 - 1), (0, 2**62), (1,) * 70])
def test_a_shape_that_no_array_has_is_refused(tmp_path, shape):
    num_bytes = 0 if 0 in shape else 4
    header = {FIRST: entry(*shape, num_bytes=num_bytes)}
    path = safetensors(tmp_path / "x.safetensors", header, num_bytes)
    assert "expected up to 8 sizes of arrays" in refusal_of(path, "safetensors")


@pytest.mark.parametrize(
    ("size", "stride"),
    [((0,), (2**62,)), ((1,), (2**70,)), ((0, 2**70), (1, 1)), ((0, 2**62), (1, 1))],
)
def test_sizes_and_strides_beyond_64_bits_are_refused(tmp_path, size, stride):
    planted = torch_writer.tensor(NUMBERS, "0", size=size, stride=stride)
    path = write_zip(tmp_path / "x.pt", {FIRST: planted}, {"0": NUMBERS})
    assert f"'{FIRST}' has sizes or strides that are no counts" in refusal_of(path)


def test_more_networks_than_anybody_saves_are_refused(tmp_path):
    header = {f"a{i}.{FIRST}": entry(0) for i in range(3000)}
    path = safetensors(tmp_path / "x.safetensors", header)
    assert "found 3,000 networks, expected one" in refusal_of(path, "safetensors")
    weight = torch_writer.tensor(NUMBERS, "0")
    state = {f"{i}": {FIRST: weight} for i in range(parts.MOST_PARTS + 1)}
    path = write_zip(tmp_path / "x.pt", state, {"0": NUMBERS})
    assert "more than 32 networks, expected one" in refusal_of(path)


def test_pairs_of_an_ordered_dict_are_of_two(tmp_path):
    # A list of 3,000 that stands 3,000 times in another.
    inner = b"(" + b"X\x01\x00\x00\x00a" * 3000 + b"lq\x00"
    content = b"\x80\x02ccollections\nOrderedDict\n" + inner + b"0("
    content += b"h\x00" * 3000 + b"l\x85R."
    path = write_zip(tmp_path / "x.pt", None, content=content)
    assert "its pickle is damaged" in refusal_of(path)


def test_a_long_name_is_not_written_out_again_and_again(tmp_path):
    module = b"X\xa0\x86\x01\x00" + b"a" * 100_000 + b"q\x00"
    name = b"X\x01\x00\x00\x00bq\x01"
    content = b"\x80\x04(" + module + name + b"\x93" + b"h\x00h\x01\x93" * 60_000
    path = write_zip(tmp_path / "x.pt", None, content=content + b"l.")
    assert "has a name of more than 1,000 characters" in refusal_of(path)


def test_the_way_to_thousands_is_short():
    found = list(parts._dicts_in({"a" * 100_000: [[None], [None]]}))
    assert len(found) == 4 and max(len(each.where) for each in found) == 200


def test_a_list_that_stands_in_another_many_times_is_looked_at_once(tmp_path):
    inner = b"(" + b"K\x01" * 10_000 + b"lq\x00"
    content = b"\x80\x02" + inner + b"0(" + b"h\x00" * 10_000 + b"l."
    path = write_zip(tmp_path / "x.pt", None, content=content)
    assert "it is no IR network of AdaFace" in refusal_of(path)


@pytest.mark.parametrize("place", ["version", "keys"])
def test_lists_in_lists_are_not_written_out(tmp_path, place):
    laughs = b"\x80\x02]q\x00" + b"0](h\x00h\x00eq\x00" * 40 + b"."  # 2**40 brackets
    version = laughs if place == "version" else pickled(1001)
    keys = b"\x80\x02](" + laughs[2:-1] + b"e." if place == "keys" else pickled([])
    system = pickled({"little_endian": True})
    path = tmp_path / "x.pt"
    path.write_bytes(MAGIC + version + system + pickled({}) + keys)
    assert re.search("found version a list|list of its storages", refusal_of(path))


@pytest.mark.slow
def test_floats_one_by_one_take_time_in_proportion():
    head = whole(1, 300_000) + whole(2, 1) + part(8, b"w")
    contents = model(part(5, head + real(4, 1.0) * 300_000))
    graph = within(5, lambda: onnx_files.read(contents))
    assert graph.tensors["w"].sum() == 300_000


def test_empty_nodes_do_not_fill_the_memory():
    with pytest.raises(InputError, match="more than 10,000 nodes and tensors"):
        onnx_files.read(model(part(1, b"") * 10_001))


def test_a_layer_of_dlibs_whose_products_overflow_is_refused():
    def integers(*values):
        return b"".join(bytes([1, value]) for value in values)

    # One filter: its gain and shift, their shapes, the mode, what training left.
    gain = np.array([3e38, 0], "<f4").tobytes()
    content = integers(7) + b"affine_" + integers(2, 2, 1, 1, 1) + gain
    content += 2 * integers(1, 1, 1, 1, 1) + integers(0) + b"000"
    content += 3 * integers(2, 0, 0, 0, 0)
    filters, bias = np.full((1, 1, 1, 1), 100, np.float32), np.zeros(1, np.float32)
    with pytest.raises(InputError, match="products beyond float32's"):
        dlib._fold_affine(io.BytesIO(content), filters, bias)
