import ml_dtypes
import numpy as np

from sdd_jax import trees

TREE = {"head": {"kernel": np.eye(2, dtype=np.float32)}, "n": np.int32(3)}


def test_arrays_are_known_by_their_path_and_back():
    flat = trees.flat(TREE)
    assert sorted(flat) == ["head/kernel", "n"]
    assert trees.nested(flat) == TREE
    assert trees.shapes(TREE) == {"head/kernel": "(2, 2) float32", "n": "() int32"}


def test_numbered_parts_are_text_on_disk_and_numbers_again():
    tree = {"blocks": {0: {"a": 1}, 10: {"a": 2}}}
    text = trees.names_as_text(tree)
    assert text == {"blocks": {"0": {"a": 1}, "10": {"a": 2}}}
    assert trees.names_like(text, tree) == tree


def test_the_facts_are_of_shape_dtype_and_bits():
    zero, minus = (
        trees.facts_of({"a": np.array([x], np.float32)})["a"] for x in (0.0, -0.0)
    )
    assert zero["shape"] == [1] and zero["dtype"] == "float32"
    assert len(zero["sha256"]) == 64 and zero["sha256"] != minus["sha256"]


def test_every_dtype_comes_back_by_its_name():
    for dtype in (ml_dtypes.bfloat16, np.float32, np.int32, np.bool_):
        facts = trees.facts_of({"a": np.zeros(1, dtype)})["a"]
        assert trees.dtype_of(facts["dtype"]) == dtype
