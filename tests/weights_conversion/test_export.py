import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from published_files import CONTAINERS, drawn_tensors, write

import weights_conversion
from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.models.heads import PooledHead
from weights_conversion import adaface_names, safetensors_files, torch_files
from weights_conversion.__main__ import main
from weights_conversion.export import classifier_tensors

ORDERS = {".ckpt": "BGR", ".pt": "RGB", ".safetensors": "RGB"}
POOLED = {
    "backbone": {"name": "ir_resnet", "arch": "ir_tiny"},
    "head": {"name": "pooled", "num_classes": 3},
}


def read(path):
    if path.suffix == ".safetensors":
        [part] = safetensors_files.read(path).parts
    else:
        [part] = torch_files.read(path, any).parts
    return part.tensors


def convert(path, output):
    converted = weights_conversion.convert(path)
    weights_conversion.save(converted, output)
    return converted


def assert_same(found, expected):
    """Assert that tensors are the same to the bit, counters but for being zeros."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            tensor = np.zeros((), np.int64)
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes(), name


def refusal_of(directory, output):
    with pytest.raises(InputError) as caught:
        weights_conversion.export(directory, output)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def checkpoint(published, tmp_path_factory):
    """Return converted checkpoints of the same tensors by the order of colours."""
    folder = tmp_path_factory.mktemp("converted")
    for suffix in (".ckpt", ".pt"):
        convert(
            write(folder / f"x{suffix}", published, CONTAINERS[suffix]),
            folder / ORDERS[suffix],
        )
    return {order: folder / order for order in ("BGR", "RGB")}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Return a fine-tuned network, every number random, of two steps."""
    folder = tmp_path_factory.mktemp("workdir")
    shapes = nnx.eval_shape(lambda: models.variables(models.build(POOLED)))
    for step, score in ((5, 0.9), (8, 0.3)):
        rng = np.random.default_rng(step)
        trees = jax.tree.map(
            lambda x, rng=rng: rng.uniform(0.5, 1, x.shape).astype(x.dtype), shapes
        )
        checkpoints.save(folder, step, {"model": trees}, {"model": POOLED}, score)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_import_and_export_give_the_published_tensors_back(suffix, published, tmp_path):
    source = write(tmp_path / f"x{suffix}", published, CONTAINERS[suffix])
    convert(source, tmp_path / "out")
    weights_conversion.export(tmp_path / "out", tmp_path / f"back{suffix}")
    found = read(tmp_path / f"back{suffix}")
    assert_same(found, read(source))
    assert ("head.kernel" in found) == (suffix == ".ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_export_and_import_give_the_variables_back(suffix, checkpoint, tmp_path):
    directory = checkpoint[ORDERS[suffix]]
    weights_conversion.export(directory, tmp_path / f"x{suffix}")
    found = weights_conversion.convert(tmp_path / f"x{suffix}")
    described = checkpoints.description(directory, 0)
    assert found.description == described["model"]
    shapes = {name: list(x.shape) for name, x in found.training_head.items()}
    assert shapes == described.get("training_head", {})
    expected = models.variables(models.load(directory))
    assert jax.tree.structure(found.variables) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected)


@pytest.mark.slow
def test_all_of_ir_18_goes_there_and_back(tmp_path):
    tensors = drawn_tensors("ir_18")
    source = write(tmp_path / "x.safetensors", tensors, "model.net.")
    converted = convert(source, tmp_path / "out")
    weights_conversion.export(tmp_path / "out", tmp_path / "back.safetensors")
    assert_same(read(tmp_path / "back.safetensors"), read(source))
    again = weights_conversion.convert(tmp_path / "back.safetensors")
    assert checkpoints.sha256(again.variables) == checkpoints.sha256(
        converted.variables
    )


def test_the_layout_of_every_kind_of_variable_is_undone():
    rng = np.random.default_rng(0)
    for path, shape in {
        ("backbone", "stem", "conv", "kernel"): (3, 3, 3, 8),
        ("backbone", "body", 0, "projection", "conv", "kernel"): (1, 1, 4, 6),
        ("backbone", "body", 0, "norm1", "scale"): (5,),
        ("head", "linear", "kernel"): (49 * 3, 5),
        ("head", "linear", "bias"): (5,),
    }.items():
        variable = rng.standard_normal(shape, np.float32)
        tensor = adaface_names.to_published(path, variable)
        assert tensor.shape == adaface_names.published_shape(path, shape)
        found = adaface_names.from_published(path, tensor)
        np.testing.assert_array_equal(found, variable)


@pytest.mark.slow
def test_a_network_of_unmarked_keys_is_exported_with_its_orders_prefix(
    published, tmp_path
):
    convert(write(tmp_path / "x.pth", published), tmp_path / "out")
    weights_conversion.export(tmp_path / "out", tmp_path / "x.ckpt")
    found = read(tmp_path / "x.ckpt")
    assert_same(found, {f"model.{n}": tensor for n, tensor in published.items()})


@pytest.mark.slow
def test_the_card_is_printed(checkpoint, published, tmp_path, capsys):
    output = tmp_path / "new" / "x.ckpt"
    assert main(["--to=torch", str(checkpoint["BGR"]), str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    counters = sum(name.endswith("num_batches_tracked") for name in published)
    assert dict(line.split(maxsplit=1) for line in printed.out.splitlines()) == {
        "checkpoint": str(checkpoint["BGR"]),
        "step": "0",
        "architecture": "ir_tiny",
        "colour_order": "BGR",
        "prefix": "model.",
        "head": "output_layer, as published",
        "training_head": "head.kernel, head.t",
        "num_tensors": str(len(published) + 2),
        "zeros": f"{counters} num_batches_tracked",
        "file": str(output),
    }
    assert len(read(output)) == len(published) + 2


@pytest.mark.parametrize(
    ("order", "suffix", "says", "way_out"),
    [
        ("BGR", ".pt", "RGB (prefix 'net.')", ".ckpt"),
        ("BGR", ".safetensors", "RGB (prefix 'model.net.')", ".ckpt"),
        ("RGB", ".ckpt", "BGR (prefix 'model.')", ".pt or .safetensors"),
    ],
)
def test_a_container_for_another_order_of_colours_is_refused(
    order, suffix, says, way_out, checkpoint, tmp_path
):
    output = tmp_path / f"x{suffix}"
    assert refusal_of(checkpoint[order], output) == (
        f"{checkpoint[order]} holds a network for {order}, but {suffix} says {says}: "
        f"choose a name that ends in {way_out}"
    )
    assert not list(tmp_path.iterdir())


def test_a_name_of_no_container_is_refused(checkpoint, tmp_path):
    message = refusal_of(checkpoint["BGR"], tmp_path / "x.bin")
    assert message == (
        f"{tmp_path}/x.bin is no name for an export: expected one that ends in .ckpt, "
        f".pt, .safetensors"
    )


def test_a_file_is_not_replaced(checkpoint, tmp_path):
    output = tmp_path / "x.ckpt"
    output.write_text("mine")
    message = refusal_of(checkpoint["BGR"], output)
    assert message == f"{output} exists already: choose another name or remove it"
    assert output.read_text() == "mine"


def test_a_file_is_no_checkpoint(tmp_path):
    (tmp_path / "x.ckpt").touch()
    assert refusal_of(tmp_path / "x.ckpt", tmp_path / "y.ckpt") == (
        f"{tmp_path / 'x.ckpt'} is a file; expected the folder of a converted "
        f"checkpoint or of a fine-tuned run"
    )
    assert not (tmp_path / "y.ckpt").exists()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    assert "no checkpoint in" in refusal_of(tmp_path, tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("backbone", "head"), [("dlib_resnet", "pooled"), ("ir_resnet", "pooled_embedding")]
)
def test_a_network_that_adaface_has_no_keys_for_is_refused(backbone, head, tmp_path):
    description = {"model": {"backbone": {"name": backbone}, "head": {"name": head}}}
    trees = {"model": {"x": np.zeros(1, np.float32)}}
    checkpoints.save(tmp_path / "net", 0, trees, description, 0.0)
    assert refusal_of(tmp_path / "net", tmp_path / "x.pt") == (
        f"{tmp_path / 'net'} holds a {backbone} with the head {head}, which AdaFace's "
        f"files have no keys for: only an ir_resnet with flat_embedding or pooled is "
        f"exported"
    )


@pytest.mark.parametrize("option", ["--arch=ir_18", "--colour-order=RGB", "--seed=0"])
def test_options_of_a_conversion_are_refused_beside_an_export(
    option, checkpoint, tmp_path, capsys
):
    arguments = ["--to=torch", option, str(checkpoint["BGR"]), str(tmp_path / "x.ckpt")]
    assert main(arguments) == 1
    name = option.partition("=")[0]
    assert capsys.readouterr().err == (
        f"error: found {name} beside --to=torch, but an export goes by the checkpoint "
        f"alone: leave it out\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.CKPT", "more/x.ckpt"])
def test_an_output_that_cannot_be_made_is_one_line(name, checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / name
    assert main(["--to=torch", str(checkpoint["BGR"]), str(output)]) == 1
    printed = capsys.readouterr().err
    assert printed == (
        f"error: {output} cannot be made: {tmp_path / 'file'} is a file, expected a "
        f"folder; choose another name\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_an_interrupted_export_leaves_nothing(
    suffix, checkpoint, tmp_path, monkeypatch
):
    def interrupt(_):
        assert [path.name for path in tmp_path.iterdir()] == [f".x{suffix}-new"]
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        weights_conversion.export(checkpoint[ORDERS[suffix]], tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_classifier_is_one_linear_layer_on_raw_features():
    rng = np.random.default_rng(0)
    head = PooledHead(4, 3)
    for variable in (head.kernel, head.offset, head.feature_mean):
        variable[...] = jnp.asarray(rng.normal(size=variable.shape), jnp.float32)
    head.feature_deviation[...] = jnp.asarray(rng.uniform(0.1, 2, 4), jnp.float32)
    tensors = classifier_tensors(head)
    assert {name: x.shape for name, x in tensors.items()} == {
        "head.weight": (3, 4),
        "head.bias": (3,),
    }
    maps = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    logits = maps.mean((1, 2)) @ tensors["head.weight"].T + tensors["head.bias"]
    np.testing.assert_allclose(head.logits(jnp.asarray(maps)), logits, rtol=1e-4)


@pytest.mark.slow
def test_of_a_fine_tuned_run_the_best_step_is_written(workdir, tmp_path, capsys):
    assert main(["--to=torch", str(workdir), str(tmp_path / "x.ckpt")]) == 0
    card = capsys.readouterr().out
    assert "step  5\n" in card
    assert "head.weight, head.bias; no output_layer: load with strict=False" in card
    found = read(tmp_path / "x.ckpt")
    assert not any("output_layer" in name for name in found)
    model = models.load(workdir, step=5)
    stem = np.asarray(model.backbone.stem.conv.kernel[...]).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(found["model.input_layer.0.weight"], stem)
    np.testing.assert_array_equal(found["head.weight"], model.head.class_weights.T)
    np.testing.assert_array_equal(found["head.bias"], model.head.bias)


@pytest.mark.slow
def test_the_export_of_a_fine_tuned_run_is_no_published_network(workdir, tmp_path):
    weights_conversion.export(workdir, tmp_path / "x.ckpt")
    with pytest.raises(InputError) as caught:
        weights_conversion.convert(tmp_path / "x.ckpt")
    assert str(caught.value) == (
        f"{tmp_path / 'x.ckpt'} does not fit: found head.weight and no output_layer, "
        f"expected a published network: it is a classifier exported for PyTorch's "
        f"tools; use the checkpoint that it was made from"
    )
