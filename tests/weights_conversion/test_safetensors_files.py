import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from sdd_jax.errors import InputError
from weights_conversion import safetensors_files

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.arange(3, dtype=np.float16),
    "brain": np.arange(3).astype(ml_dtypes.bfloat16),
    "double": np.arange(3, dtype=np.float64),
    "counter": np.array(7),
}


def with_header(path, header, num_bytes=64):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + b"\0" * num_bytes)
    return path


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        safetensors_files.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be used: ")
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_every_type_of_weights_comes_back_as_it_was(tmp_path):
    safetensors.numpy.save_file(ARRAYS, tmp_path / "x.safetensors", {"format": "pt"})
    [part] = safetensors_files.read(tmp_path / "x.safetensors").parts
    found = part.tensors
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_another_type_is_refused_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3, np.uint64)}, path)
    message = refusal_of(path)
    assert "'weight' is of type U64, expected F64, F32, F16, BF16, I64, " in message


def test_a_file_that_breaks_off_says_where(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"weight": ARRAYS["matrix"]}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        message = refusal_of(path)
        assert message.endswith("weights as published: download them again")
        if length > 8:
            assert f"bytes, {length} are there" in message or (
                "'weight' declares bytes up to 24" in message
            )


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"3",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"w": ' * 100_000,
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}',
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e300]}}',
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, '
        + b"9" * 400
        + b"]}}",
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]}}',
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"w": {"dtype": "F32"}}',
        b'{"w": 3}',
        b'{"__metadata__": {}}',
        b"\xff\xfe{",
    ],
    ids=lambda header: header[:60].decode(errors="replace")[-24:],
)
def test_a_damaged_header_is_refused(header, tmp_path):
    refusal_of(with_header(tmp_path / "x.safetensors", header))


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refusal_of(tmp_path / "x.safetensors")
