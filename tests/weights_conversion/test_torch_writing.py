import io
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from weights_conversion import torch_files, torch_writing

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "filters": np.arange(24, dtype=np.float64).reshape(2, 3, 4)[:, ::2, :],
    "half": np.arange(3, dtype=np.float16),
    "brain": np.arange(3).astype(ml_dtypes.bfloat16),
    "counter": np.zeros((), np.int64),
    "none": np.zeros((0, 4), np.float32),
}


def written(arrays):
    stream = io.BytesIO()
    torch_writing.write_zip(stream, *torch_writing.tensors_and_storages(arrays))
    return stream


class Reader(pickle.Unpickler):
    """Python's own reader of pickles, with three names of PyTorch's stood in for."""

    def __init__(self, archive):
        super().__init__(io.BytesIO(archive.read("archive/data.pkl")))
        self.archive = archive

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, *layout: (storage, *layout)
        return {"FloatStorage": "<f4", "LongStorage": "<i8"}[name]

    def persistent_load(self, persistent_id):
        kind, dtype, key, device, size = persistent_id
        content = np.frombuffer(self.archive.read(f"archive/data/{key}"), dtype)
        assert (kind, device, len(content)) == ("storage", "cpu", size)
        return content


def test_pythons_own_reader_finds_the_arrays():
    arrays = {name: ARRAYS[name] for name in ("matrix", "counter", "none")}
    with zipfile.ZipFile(written(arrays)) as archive:
        assert archive.testzip() is None
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/version") == b"3\n"
        found = Reader(archive).load()
    expected = {
        "matrix": ((2, 3), (3, 1)),
        "counter": ((), ()),
        "none": ((0, 4), (4, 1)),
    }
    assert list(found) == list(arrays)
    for name, (content, offset, size, strides, gradient, hooks) in found.items():
        assert (offset, gradient, hooks) == (0, False, {})
        assert (size, strides) == expected[name]
        np.testing.assert_array_equal(content, arrays[name].reshape(-1))


def test_the_projects_reader_finds_every_type(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(written(ARRAYS).getvalue())
    [part] = torch_files.read(path, any).parts
    found = part.tensors
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_same_arrays_give_the_same_bytes():
    assert written(ARRAYS).getvalue() == written(ARRAYS).getvalue()


def test_storages_are_aligned():
    stream = written(ARRAYS)
    content = stream.getvalue()
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            lengths = np.frombuffer(content, "<u2", 2, entry.header_offset + 26)
            assert (entry.header_offset + 30 + lengths.sum()) % 64 == 0


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -7, 2**62, 2.5, "ä", (), (1, ("a",)), [[], 3], {}]
)
def test_plain_values_are_pickled_as_pythons_own_reader_reads_them(value):
    found = pickle.loads(torch_writing.pickled({"x": value}))
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


def test_an_object_comes_back_with_its_arguments_and_its_state():
    function = torch_writing.Global("types", "SimpleNamespace")
    found = pickle.loads(
        torch_writing.pickled(torch_writing.Call(function, (), {"a": 1}))
    )
    assert vars(found) == {"a": 1}


def test_a_value_of_another_type_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="a set is nothing for a file of weights"):
        torch_writing.pickled({1})
