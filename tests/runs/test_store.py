import numpy as np
import pytest

from sdd_jax.runs import store

KEY = {"method": "sdd", "images": [0, 3, "ab"], "options": {"scale": None}}
ARRAYS = {
    "confidence": np.array([0.5, 1], np.float32),
    "rivals": np.array([[1, 2], [3, 4]]),
}


def test_arrays_come_back_by_their_key_alone(tmp_path):
    folder = tmp_path / "results" / "weights"
    assert store.load(folder, KEY) is None
    store.save(folder, KEY, ARRAYS)
    found = store.load(folder, dict(reversed(KEY.items())))
    assert found is not None and found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert store.load(folder, KEY | {"method": "cam"}) is None
    assert store.load(folder, KEY | {"options": {"scale": 1}}) is None


@pytest.mark.parametrize("kind", ["bit", "cut", "empty", "another"])
def test_a_damaged_file_is_named_and_not_taken(tmp_path, capsys, kind):
    store.save(tmp_path, KEY, ARRAYS)
    (path,) = tmp_path.glob("*.npz")
    content = bytearray(path.read_bytes())
    if kind == "another":
        store.save(tmp_path, {"other": 1}, ARRAYS)
        (other,) = set(tmp_path.glob("*.npz")) - {path}
        content = bytearray(other.read_bytes())
    elif kind == "bit":
        content[len(content) // 3] ^= 1
    path.write_bytes(content[: {"cut": 300, "empty": 0}.get(kind, len(content))])
    assert store.load(tmp_path, KEY) is None
    said = " ".join(capsys.readouterr().out.split())
    assert "is damaged (" in said and "its result is computed again" in said


def test_results_of_other_checkpoints_go(tmp_path):
    for name in ("one", "two"):
        store.save(tmp_path / name, KEY, ARRAYS)
    store.keep_only(tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    assert store.load(tmp_path / "two", KEY) is not None
