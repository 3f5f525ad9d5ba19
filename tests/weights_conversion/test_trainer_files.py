"""Files with a trainer's whole state, as torch.save writes it, without PyTorch."""

import argparse
import array
import collections
import datetime
import decimal
import enum
import functools
import pathlib
import pickle
import pickletools
import re
import types
import uuid

import numpy as np
import pytest
from torch_writer import (
    Call,
    Global,
    contiguous,
    pickled,
    tensor,
    write_legacy,
    write_zip,
)

import weights_conversion
from sdd_jax.errors import InputError
from weights_conversion import pickles
from weights_conversion.__main__ import main

WRITERS = pytest.mark.parametrize("torch_save", [write_zip, write_legacy])


class Mode(enum.Enum):
    TRAIN = "train"


class Options(dict):
    """A trainer's own dict, such as EasyDict."""

    def cosine(self):
        pass


class Schedule(enum.IntEnum):
    LINEAR = 1


# As Python's own pickler writes them.
STATE = {
    "epoch": 25,
    "global_step": 1_000_000,
    "pytorch-lightning_version": "1.4.4",
    "lr_schedulers": [
        {
            "milestones": collections.Counter({12: 1, 20: 1, 24: 1}),
            "gamma": 0.1,
            "base_lrs": [0.1],
            "last_epoch": 26,
            "_last_lr": [1e-4],
        },
        # What OneCycleLR kept: a method by its name.
        {"anneal_func": Options.cosine, "lr_lambdas": [None]},
    ],
    "hparams": argparse.Namespace(arch="ir_101", path=pathlib.PurePosixPath("/data")),
    "hyper_parameters": Options(optimizer=functools.partial(Options, lr=0.1)),
    "modes": {Mode.TRAIN: Schedule.LINEAR, Mode: {1, 2}, (1, 2): frozenset("a")},
    "paths": [pathlib.Path("a"), pathlib.PureWindowsPath("b")],
    "when": [datetime.datetime(2022, 5, 1, tzinfo=datetime.UTC), datetime.timedelta(1)],
    "numpy": [np.float64(0.9), np.arange(3), np.dtype("f4"), np.float32, np.bool_(1)],
    "rng": [np.random.RandomState(0), np.random.default_rng(0)],
    "plain": [
        *(collections.deque([1], 5), collections.defaultdict(list, a=[1])),
        *(collections.OrderedDict(a=1), types.SimpleNamespace(a=1)),
        *(decimal.Decimal("0.1"), uuid.UUID(int=1), re.compile("a"), array.array("d")),
        *(slice(3), range(3), 1j, b"a", bytearray(b"a"), type(None), int, 2**80, None),
    ],
}


def trained(published):
    """Return the value of a Lightning file, and its storages."""
    model = {f"model.{name}": x for name, x in published.items()}
    moments = {"exp_avg": np.ones(3, "f4"), "exp_avg_sq": np.ones(3, "f4")}
    tensors, storages = contiguous(
        model | {"head.kernel": np.ones((512, 3), "f4")} | moments
    )
    moments = {name: tensors.pop(name) for name in moments}
    checkpoint = Global(
        "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"
    )
    value = {
        "state_dict": tensors,
        "callbacks": {
            checkpoint: {"best_model_score": moments["exp_avg"]},
            "EarlyStopping{'monitor': 'val_acc'}": {"wait_count": 0},
        },
        "optimizer_states": [
            {
                "state": {0: {"step": 3} | moments, 1: {"step": 3} | moments},
                "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1]}],
            }
        ],
        "native_amp_scaling_state": {"scale": 65536.0, "_growth_tracker": 0},
        "loops": Call(Global("lightning.pytorch.loops", "_FitLoop")),
        "config": Call(Global("omegaconf.dictconfig", "DictConfig"), (), {"a": 1}),
        "device": Call(Global("torch", "device"), ("cuda", 0)),
    }
    return value, storages


@pytest.mark.slow
@WRITERS
def test_a_lightning_file_is_converted_with_all_that_its_trainer_left(
    torch_save, published, tmp_path, capsys
):
    value, storages = trained(published)
    path = torch_save(tmp_path / "x.CKPT", value, storages, state=STATE)
    assert main([str(path), str(tmp_path / "out")]) == 0
    card = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert card["part"] == "state_dict/model"
    assert card["colour_order_by"] == "the prefix model."
    assert card["kept"] == "head.kernel"
    passed_over = {*value, *STATE} - {"state_dict"}
    assert set(card["passed_over"].split(", ")) == passed_over


@pytest.mark.parametrize("name", STATE)
@WRITERS
def test_each_kind_of_state_may_be_there(torch_save, name, published, tmp_path):
    value, storages = contiguous({f"net.{n}": x for n, x in published.items()})
    state = {name: STATE[name]}
    path = torch_save(tmp_path / "x.pt", {"model": value}, storages, state=state)
    assert weights_conversion.convert(path).card["passed_over"] == name


@pytest.mark.parametrize(
    "outer",
    [Options(a="x"), collections.defaultdict(list, a="x")],
    ids=["own", "default"],
)
def test_a_network_in_a_dict_of_another_type_is_found(outer, published, tmp_path):
    tensors, storages = contiguous(published)
    content = pickle.dumps({"outer": outer}, protocol=2)
    # The tensors in the place of "x", which the pickler has put into its memo.
    parts = content.partition(b"X\x01\0\0\0x")
    content = parts[0] + pickled(tensors)[2:-1] + parts[2]
    path = write_zip(tmp_path / "x.pt", {}, storages, content=content)
    assert weights_conversion.convert(path).card["part"] == "outer/a"


@pytest.mark.parametrize(
    ("value", "outline"),
    [
        ({"state": {0: {"exp_avg": 0}}, "param_groups": []}, "'state', 'param_groups'"),
        ({"milestones": [3], "gamma": 0.1}, "'milestones', 'gamma'"),
        ({"state_dict": {}, "epoch": 3}, "no tensors, but 'state_dict', 'epoch'"),
        ({}, "no tensors, but an empty dict"),
        (Call(Global("net", "Backbone")), "it holds a net.Backbone and no dict"),
    ],
    ids=["optimizer", "scheduler", "empty", "nothing", "module"],
)
@WRITERS
def test_a_file_without_a_network_says_what_it_holds(
    torch_save, value, outline, tmp_path, capsys
):
    path = torch_save(tmp_path / "x.pth", value)
    assert main([str(path), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {path} does not fit: found no first layer")
    assert printed.err.count("\n") == 1
    assert outline in printed.err
    assert not (tmp_path / "out").exists()


def test_a_program_for_torchscript_is_named(tmp_path):
    extra = {"archive/constants.pkl": pickled(())}
    path = write_zip(tmp_path / "x.pt", {}, extra=extra)
    with pytest.raises(InputError, match="it is a program for TorchScript, not a dict"):
        weights_conversion.convert(path)


def test_the_state_of_a_large_run_is_not_too_long():
    one = {
        "layer.0": tensor(np.zeros(81), "0", size=(3, 3, 3, 3), stride=(27, 9, 3, 1))
    }
    two = one | {"layer.1": one["layer.0"]}
    a_tensor = _length(two) - _length(one)
    assert a_tensor > 30
    # IR-101's weights, running averages of them, AdamW's four tensors for each.
    assert (2 * 917 + 4 * 560) * a_tensor < pickles.MAX_INSTRUCTIONS


def _length(value):
    return sum(1 for _ in pickletools.genops(pickled(value)))
