import hashlib

import jax
import ml_dtypes
import numpy as np
import pytest
from published_files import description_of, shapes_of, write
from torch_writer import contiguous, write_zip

import weights_conversion
from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from weights_conversion import adaface_names
from weights_conversion.__main__ import main

FIRST = "input_layer.0.weight"


def refusal_of(path, **options):
    with pytest.raises(InputError) as caught:
        weights_conversion.convert(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "num_keys", "num_units"),
    [("ir_18", None, 8), ("ir_34", None, 16), ("ir_50", None, 24), ("ir_101", 917, 49)],
)
def test_the_names_are_those_of_the_published_modules(arch, num_keys, num_units):
    shapes = {
        adaface_names.published_name(path): adaface_names.published_shape(path, shape)
        for path, shape in shapes_of(arch).items()
    }
    assert len(shapes) == len(shapes_of(arch))  # no two variables share a name
    means = [name for name in shapes if name.endswith("running_mean")]
    if num_keys:
        assert len(shapes) + len(means) == num_keys
    # Worked by hand from the published modules.
    last = f"body.{num_units - 1}.res_layer"
    expected = {
        FIRST: (64, 3, 3, 3),
        "input_layer.1.running_var": (64,),
        "input_layer.2.weight": (64,),
        "body.0.res_layer.0.weight": (64,),
        "body.0.res_layer.1.weight": (64, 64, 3, 3),
        "body.0.res_layer.3.weight": (64,),
        f"{last}.4.weight": (512, 512, 3, 3),
        f"{last}.5.bias": (512,),
        "output_layer.0.weight": (512,),
        "output_layer.3.weight": (512, 25088),
        "output_layer.3.bias": (512,),
        "output_layer.4.running_mean": (512,),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert "output_layer.4.weight" not in shapes
    shortcuts = [name for name in shapes if name.endswith("shortcut_layer.0.weight")]
    assert len(shortcuts) == 3
    if arch == "ir_101":
        assert {name.split(".")[1] for name in shortcuts} == {"3", "16", "46"}
        assert shapes["body.16.shortcut_layer.0.weight"] == (256, 128, 1, 1)


def test_the_embedding_matrix_is_reordered_to_height_width_channels():
    matrix = np.arange(2 * 3 * 49, dtype=np.float32).reshape(2, 3 * 49)
    found = adaface_names.from_published(("head", "linear", "kernel"), matrix)
    for dimension, channel, row, column in np.ndindex(2, 3, 7, 7):
        theirs = matrix[dimension, channel * 49 + row * 7 + column]
        assert found[(row * 7 + column) * 3 + channel, dimension] == theirs


def test_convolutions_become_height_width_in_out():
    filters = np.arange(4 * 2 * 3 * 3, dtype=np.float32).reshape(4, 2, 3, 3)
    found = adaface_names.from_published(
        ("backbone", "stem", "conv", "kernel"), filters
    )
    assert found.shape == (3, 3, 2, 4)
    assert found[0, 2, 1, 3] == filters[3, 1, 0, 2]


@pytest.mark.parametrize(
    ("file", "prefix", "order", "by"),
    [
        ("x.ckpt", "model.", "BGR", "the prefix model."),
        ("x.safetensors", "model.net.", "RGB", "the prefix model.net."),
        ("x.pt", "net.", "RGB", "the prefix net."),
        ("x.pt", "", "BGR", "assumed: the keys have no prefix"),
    ],
)
def test_the_container_says_the_colour_order(
    file, prefix, order, by, published, tmp_path
):
    path = write(tmp_path / file, published, prefix)
    converted = weights_conversion.convert(path, arch="ir_tiny")
    expected = description_of("ir_tiny") | {"input": {"colour_order": order}}
    assert converted.description == expected
    assert models.input_spec(converted.description).colour_order == order
    counters = sum(name.endswith("num_batches_tracked") for name in published)
    lightning = prefix == "model."
    leaves = jax.tree.leaves(converted.variables)
    assert converted.card == {
        "source": file,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backbone": "ir_resnet",
        "part": {"x.ckpt": "state_dict/model", "x.safetensors": "model.net"}.get(
            file, "net" if prefix else "the whole file"
        ),
        "architecture": "ir_tiny",
        "colour_order": order,
        "colour_order_by": by,
        "num_used": len(published) - counters,
        "kept": "head.kernel, head.t" if lightning else "nothing",
        "num_dropped": counters,
        "dropped": f"{counters} num_batches_tracked",
        "passed_over": "epoch" if lightning else "nothing",
        "num_arrays": len(leaves),
        "num_parameters": sum(leaf.size for leaf in leaves),
    }
    assert len(leaves) == converted.card["num_used"]
    flat = jax.tree_util.tree_flatten_with_path(converted.variables)[0]
    for keys, leaf in flat:
        keys = tuple(key.key for key in keys)
        tensor = published[adaface_names.published_name(keys)]
        np.testing.assert_array_equal(leaf, adaface_names.from_published(keys, tensor))


@pytest.mark.slow
def test_a_converted_network_is_loaded_with_its_colour_order(
    published, tmp_path, capsys
):
    path = write(tmp_path / "x.pt", published)
    arguments = [str(path), str(tmp_path / "out"), "--colour-order=RGB"]
    assert main(arguments) == 0
    assert "colour_order_by  the command" in capsys.readouterr().out
    model = models.load(tmp_path / "out")
    assert model.spec.colour_order == "RGB"
    images = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    found = model.embeddings(model.feature_maps(jax.numpy.asarray(images)))
    assert found.shape == (1, 512)


def test_what_the_command_says_must_be_what_is_found(published, tmp_path):
    path = write(tmp_path / "x.ckpt", published, "model.")
    assert "found ir_tiny, but --arch says ir_50" in refusal_of(path, arch="ir_50")
    message = refusal_of(path, colour_order="RGB")
    assert "found a network for BGR (prefix 'model.')" in message


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("file", ["x.pt", "x.safetensors"])
def test_weights_of_every_precision_become_float32(file, dtype, published, tmp_path):
    tensors = {
        name: array.astype(dtype) if array.dtype == np.float32 else array
        for name, array in published.items()
    }
    converted = weights_conversion.convert(write(tmp_path / file, tensors))
    leaves = jax.tree.leaves(converted.variables)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    kernel = converted.variables["backbone"]["stem"]["conv"]["kernel"]
    expected = tensors[FIRST].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_one_error_lists_all_that_is_wrong(published, tmp_path):
    tensors = dict(published)
    del tensors["body.2.shortcut_layer.1.running_var"]
    tensors["body.0.res_layer.6.fc1.weight"] = np.ones(3, np.float32)
    tensors["input_layer.0.num_batches_tracked"] = np.array(3)  # of a convolution
    tensors["output_layer.3.weight"] = np.ones((512, 100), np.float32)
    tensors["output_layer.3.bias"] = np.ones(512, np.int64)
    tensors["output_layer.0.bias"] = np.full(32, np.nan, np.float32)
    tensors["output_layer.0.weight"] = np.full(32, 1e300)
    tensors |= {f"more.{i}": np.ones(1, np.float32) for i in range(20)}
    path = write(tmp_path / "x.ckpt", tensors, "model.")
    message = refusal_of(path)
    for reason in (
        "body.2.shortcut_layer.1.running_var is missing",
        "'body.0.res_layer.6.fc1.weight' is unknown",
        "'input_layer.0.num_batches_tracked' is unknown",
        "output_layer.3.weight is (512, 100), expected (512, 1568)",
        "output_layer.3.bias is of int64, expected floats",
        "output_layer.0.bias holds a value that is no finite float32",
        "output_layer.0.weight holds a value that is no finite float32",
    ):
        assert reason in message
    assert message.count(";") == 12
    assert message.endswith("and 15 more")


@pytest.mark.slow
def test_the_training_head_is_kept_beside_the_model(published, tmp_path):
    path = write(tmp_path / "x.ckpt", published, "model.")
    assert main([str(path), str(tmp_path / "out")]) == 0
    found = checkpoints.description(tmp_path / "out", 0)["training_head"]
    assert found == {"kernel": [512, 3], "t": [1]}
    examples = {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in found.items()}
    kept = checkpoints.load(tmp_path / "out", 0, {"training_head": examples})
    np.testing.assert_array_equal(kept["training_head"]["kernel"], np.ones((512, 3)))
    np.testing.assert_array_equal(kept["training_head"]["t"], [0])
    # What is kept is in nobody's way.
    loaded = models.variables(models.load(tmp_path / "out"))
    expected = weights_conversion.convert(path).variables
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def test_a_training_head_of_other_numbers_is_refused(published, tmp_path):
    tensors = {f"model.{name}": array for name, array in published.items()}
    tensors["head.t"] = np.zeros(1, np.int64)
    tensors["head.batch_std"] = np.full(1, np.inf, np.float32)
    message = refusal_of(write_zip(tmp_path / "x.ckpt", *contiguous(tensors)))
    assert "head.t is of int64, expected floats" in message
    assert "head.batch_std holds a value that is no finite float32" in message


def test_tensors_beside_the_network_are_kept_only_from_lightning(published, tmp_path):
    tensors = {f"net.{name}": array for name, array in published.items()}
    tensors["head.kernel"] = np.ones((512, 3), np.float32)
    tensors["head.t"] = tensors["n_averaged"] = np.ones(1, np.float32)
    path = write(tmp_path / "x.safetensors", tensors)
    card = weights_conversion.convert(path).card
    assert card["kept"] == "nothing"
    assert card["passed_over"] == "head (2 tensors), n_averaged"


def test_another_network_is_refused(published, tmp_path):
    message = refusal_of(write(tmp_path / "x.pt", {"conv1.weight": np.ones(3, "f4")}))
    assert "found no first layer, expected 'input_layer.0.weight' under any" in message
    assert message.endswith("it holds 1 tensors: 'conv1.weight'")
    tensors = {n: a for n, a in published.items() if not n.startswith("body.3.")}
    message = refusal_of(write(tmp_path / "x.pt", tensors))
    assert "found 3 units after a first layer of (8, 3, 3, 3)" in message


@pytest.mark.parametrize("length", [1, 7, 1000, -1])
def test_a_truncated_safetensors_file_is_refused(length, published, tmp_path):
    path = write(tmp_path / "x.safetensors", published)
    path.write_bytes(path.read_bytes()[:length])
    assert "cannot be used" in refusal_of(path)


def test_a_refused_file_leaves_no_output(published, tmp_path, capsys):
    path = write(tmp_path / "x.pt", published | {"more": np.ones(1, np.float32)})
    assert main([str(path), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
