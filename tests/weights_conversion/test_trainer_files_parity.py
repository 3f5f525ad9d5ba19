"""Files that PyTorch itself writes of a training run are converted."""

import argparse
from pathlib import Path

import numpy as np
import pytest

import weights_conversion

torch = pytest.importorskip(
    "torch", reason="parity with PyTorch needs the extra [parity]"
)

import torch_ir_resnet as oracle  # noqa: E402
from torch_containers import UNITS_PER_STAGE  # noqa: E402

FIRST = "input_layer.0.weight"
# What PyTorch says of its own, such as of a compiler that it does not find.
pytestmark = pytest.mark.filterwarnings("ignore")
ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def net():
    return oracle.randomise(oracle.IRNet(UNITS_PER_STAGE["ir_18"]), seed=0)


def save(value, path, zipped):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def kernel_of(converted):
    return converted.variables["backbone"]["stem"]["conv"]["kernel"]


def expected(net, dtype=torch.float32):
    kernel = net.input_layer[0].weight.detach().to(dtype).float()
    return kernel.numpy().transpose(2, 3, 1, 0)


@ZIPPED
def test_a_whole_training_run(net, zipped, tmp_path):
    weights = torch.nn.Parameter(torch.ones(3))
    biases = torch.nn.Parameter(torch.ones(2))
    optimizers = [
        torch.optim.SGD([weights], lr=0.1, momentum=0.9),
        torch.optim.AdamW([weights, biases], lr=0.1, amsgrad=True),
    ]
    schedulers = [
        torch.optim.lr_scheduler.MultiStepLR(optimizers[0], milestones=[12, 20, 24]),
        torch.optim.lr_scheduler.OneCycleLR(optimizers[1], max_lr=0.1, total_steps=9),
        torch.optim.lr_scheduler.LambdaLR(optimizers[1], lambda step: 1.0),
    ]
    (weights.sum() + biases.sum()).backward()
    for each in (*optimizers, *schedulers):
        each.step()
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    state |= {"head.kernel": torch.ones(512, 10), "head.t": torch.zeros(1)}
    value = {
        "epoch": 25,
        "global_step": 100,
        "pytorch-lightning_version": "1.4.4",
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [each.state_dict() for each in optimizers],
        "lr_schedulers": [each.state_dict() for each in schedulers],
        "hyper_parameters": argparse.Namespace(path=Path("a"), lr=np.float64(0.1)),
        "native_amp_scaling_state": torch.amp.GradScaler("cpu").state_dict(),
        "rng": torch.get_rng_state(),
        "device": torch.device("cpu"),
        "state_dict": state,
    }
    converted = weights_conversion.convert(save(value, tmp_path / "x.ckpt", zipped))
    np.testing.assert_array_equal(kernel_of(converted), expected(net))
    card = converted.card
    assert (card["part"], card["colour_order"]) == ("state_dict/model", "BGR")
    assert card["kept"] == "head.kernel, head.t"
    assert set(card["passed_over"].split(", ")) == value.keys() - {"state_dict"}


@ZIPPED
@pytest.mark.parametrize(
    ("wrap", "part"),
    [
        (torch.nn.DataParallel, "module"),
        (torch.compile, "_orig_mod"),
        (torch.optim.swa_utils.AveragedModel, "module"),
    ],
    ids=["data parallel", "compiled", "averaged"],
)
def test_what_pytorch_wraps_a_network_in(wrap, part, net, zipped, tmp_path):
    value = {"model_state_dict": wrap(net).state_dict()}
    converted = weights_conversion.convert(save(value, tmp_path / "x.pth.tar", zipped))
    assert converted.card["part"] == f"model_state_dict/{part}"
    np.testing.assert_array_equal(kernel_of(converted), expected(net))


@ZIPPED
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_of_every_precision(dtype, net, zipped, tmp_path):
    value = {
        name: torch.nn.Parameter(x.to(dtype)) if x.is_floating_point() else x
        for name, x in net.state_dict().items()
    }
    path = save({"net": value}, tmp_path / "pytorch_model.bin", zipped)
    converted = weights_conversion.convert(path)
    np.testing.assert_array_equal(kernel_of(converted), expected(net, dtype))
