"""One network under every wrapping, and several in one file."""

import numpy as np
import pytest
import safetensors.numpy
from published_files import write
from torch_writer import contiguous, parameter, write_legacy, write_zip

import weights_conversion
from sdd_jax.errors import InputError
from weights_conversion.__main__ import main

FIRST = "input_layer.0.weight"


def refusal_of(path, **options):
    with pytest.raises(InputError) as caught:
        weights_conversion.convert(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path} does not fit: ")
    assert "\n" not in message
    return message


def averaged(published):
    """Return what a running average of the weights makes of them."""
    moved = {
        n: x * np.float32(0.9) for n, x in published.items() if x.dtype.kind == "f"
    }
    return published | moved


@pytest.mark.parametrize(
    ("prefix", "order", "by"),
    [
        ("module.", "BGR", "assumed: the keys have no prefix"),
        ("_orig_mod.", "BGR", "assumed: the keys have no prefix"),
        ("module.model.", "BGR", "the prefix model."),
        ("_orig_mod.module.net.", "RGB", "the prefix net."),
        ("model._orig_mod.net.", "RGB", "the prefix model.net."),
        ("net._orig_mod.", "RGB", "the prefix net."),
        ("backbone.", "BGR", "assumed: the prefix backbone. does not say"),
        ("module.encoder.", "BGR", "assumed: the prefix encoder. does not say"),
        ("backbone.net.", "BGR", "assumed: the prefix backbone.net. does not say"),
    ],
)
def test_a_prefix_is_left_out_and_says_the_order_only_if_it_is_published(
    prefix, order, by, published, tmp_path
):
    path = write(tmp_path / "x.pth", published, prefix)
    converted = weights_conversion.convert(path)
    assert converted.card["part"] == prefix[:-1]
    assert converted.card["colour_order"] == order
    assert converted.card["colour_order_by"] == by
    kernel = converted.variables["backbone"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, published[FIRST].transpose(2, 3, 1, 0))
    if not by.startswith("the prefix"):
        said = weights_conversion.convert(path, colour_order="RGB").card
        assert (said["colour_order"], said["colour_order_by"]) == ("RGB", "the command")


def test_wrappers_inside_of_the_network_are_left_out(published, tmp_path):
    def wrapped(name):
        layer, rest = name.split(".", 1)
        return f"model.{layer}._checkpoint_wrapped_module.{rest}"

    tensors = {wrapped(name): x for name, x in published.items()}
    card = weights_conversion.convert(write(tmp_path / "x.pt", tensors)).card
    assert (card["part"], card["colour_order"]) == ("model", "BGR")
    twice = tensors | {"model.input_layer.0.weight": published[FIRST]}
    message = refusal_of(write(tmp_path / "x.pt", twice))
    assert "are one and the same but for PyTorch's wrappers" in message


@pytest.mark.parametrize("torch_save", [write_zip, write_legacy])
@pytest.mark.parametrize(
    "way",
    [
        *(["model"], ["net"], ["model_state_dict"], ["network"], ["backbone"]),
        *(["state_dict", "model"], ["a", 0, "model"], ["ema"]),
    ],
    ids=lambda way: "/".join(map(str, way)),
)
def test_a_network_is_found_under_any_names(torch_save, way, published, tmp_path):
    value, storages = contiguous({f"net.{n}": x for n, x in published.items()})
    for name in reversed(way):
        value = [value] if name == 0 else {name: value, "epoch": 3}
    card = weights_conversion.convert(
        torch_save(tmp_path / "x.pt", value, storages)
    ).card
    places = "/".join(map(str, way))
    assert (card["part"], card["colour_order"]) == (f"{places}/net", "RGB")
    names = [way[:depth] for depth in range(len(way)) if way[depth] != 0]
    passed_over = {"/".join(map(str, [*outer, "epoch"])) for outer in names}
    assert set(card["passed_over"].split(", ")) == passed_over


def test_what_is_no_tensor_beside_the_keys_is_passed_over_and_said(published, tmp_path):
    tensors, storages = contiguous(published)
    path = write_zip(tmp_path / "x.pt", tensors | {"epoch": 3, "lr": 0.1}, storages)
    assert weights_conversion.convert(path).card["passed_over"] == "epoch, lr"
    path = write_zip(tmp_path / "x.pt", tensors | {"output_layer.3.bias": 3}, storages)
    assert "output_layer.3.bias is an int, not a tensor" in refusal_of(path)


def test_parameters_are_tensors(published, tmp_path):
    tensors, storages = contiguous(published)
    path = write_zip(
        tmp_path / "x.pt", {n: parameter(x) for n, x in tensors.items()}, storages
    )
    assert weights_conversion.convert(path).card["num_used"] == len(
        [name for name in published if not name.endswith("num_batches_tracked")]
    )


@pytest.fixture
def in_two_dicts(published, tmp_path):
    def write_both(second):
        both = {f"model.{n}": x for n, x in published.items()}
        both |= {f"ema.{n}": x for n, x in second.items()}
        tensors, storages = contiguous(both)
        value = {
            part: {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(part)
            }
            for part in ("model", "ema")
        }
        return write_zip(tmp_path / "x.pt", value | {"epoch": 3}, storages)

    return write_both


@pytest.mark.slow
def test_two_networks_that_differ_ask_for_a_choice(
    in_two_dicts, published, tmp_path, capsys
):
    path = in_two_dicts(averaged(published))
    assert "found 2 IR networks that differ, 'model', 'ema'" in refusal_of(path)
    assert main(["--part=ema", str(path), str(tmp_path / "out")]) == 0
    card = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert card["part"] == "ema"
    assert card["passed_over"] == "model, epoch"
    kernels = [
        weights_conversion.convert(path, part=part).variables["backbone"]["stem"][
            "conv"
        ]
        for part in ("model", "ema")
    ]
    expected = published[FIRST].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernels[0]["kernel"], expected)
    np.testing.assert_array_equal(kernels[1]["kernel"], expected * np.float32(0.9))
    message = refusal_of(path, part="teacher")
    assert "found no part 'teacher': it holds 'model', 'ema'" in message


def test_of_two_equal_networks_the_other_is_said(in_two_dicts, published):
    card = weights_conversion.convert(in_two_dicts(published)).card
    assert (card["part"], card["equal_parts"]) == ("model", "ema")
    assert card["passed_over"] == "ema, epoch"


@pytest.mark.parametrize("file", ["x.ckpt", "x.safetensors"])
def test_two_networks_by_prefix_ask_for_a_choice(file, published, tmp_path):
    tensors = {f"ema_model.module.{n}": x for n, x in averaged(published).items()}
    tensors |= {f"model.{n}": x for n, x in published.items()}
    path = write(tmp_path / file, tensors)
    message = refusal_of(path)
    assert "'model', 'ema_model.module': choose one" in message
    assert "python -m weights_conversion --part='model'" in message
    card = weights_conversion.convert(path, part="ema_model.module").card
    assert card["passed_over"] == f"model ({len(published)} tensors)"
    assert card["colour_order_by"] == "assumed: the prefix ema_model. does not say"
    # The first one's keys have no prefix, which is that of all keys.
    bare = published | {f"ema.{n}": x for n, x in averaged(published).items()}
    path = write(tmp_path / file, bare)
    assert "'.', 'ema'" in refusal_of(path)
    assert weights_conversion.convert(path, part=".").card["part"] == "the whole file"


def test_equal_networks_of_two_colour_orders_ask_for_a_choice(published, tmp_path):
    tensors = {p + n: a for p in ("model.", "net.") for n, a in published.items()}
    path = write(tmp_path / "x.pt", tensors)
    assert "'net', 'model'" in refusal_of(path)
    assert weights_conversion.convert(path, part="net").card["colour_order"] == "RGB"


@pytest.mark.parametrize(
    ("tensors", "outline"),
    [
        ({}, "it holds nothing"),
        (
            {f"my_{FIRST}": np.ones(3, "f4"), "exp_avg": np.ones(3, "f4")},
            f"it holds 2 tensors: 'exp_avg', 'my_{FIRST}'",
        ),
        (
            {str(number): np.ones(1, "f4") for number in range(9)},
            "it holds 9 tensors: '0', '1', '2' and 6 more",
        ),
    ],
)
def test_what_is_found_in_place_of_a_network_is_said(tensors, outline, tmp_path):
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    assert refusal_of(tmp_path / "x.safetensors").endswith(outline)


def test_a_part_of_dlibs_file_is_refused(tmp_path):
    (tmp_path / "x.DAT").write_bytes(b"damaged")
    with pytest.raises(InputError, match="leave --arch, --colour-order and --part out"):
        weights_conversion.convert(tmp_path / "x.DAT", part="model")
