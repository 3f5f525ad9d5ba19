"""Files of an attacker through the whole program; `pytest -rP` prints each refusal."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors.numpy
from promptness import within
from torch_writer import Call, Global, tensor, write_legacy, write_zip

from weights_conversion.__main__ import main

NUMBERS = np.arange(24, dtype=np.float32)
GOOD = {"weight": tensor(NUMBERS, "0")}
STORAGES = {"0": NUMBERS}


def reduce_to(name, argument):
    return Call(Global(*name.rsplit(".", 1)), (argument,))


def header(tensors):
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content


def os_system(path):
    write_zip(path, {"state_dict": reduce_to("os.system", "touch executed")}, STORAGES)


def eval_in_the_older_layout(path):
    write_legacy(path, reduce_to("builtins.eval", "open('executed', 'w')"), STORAGES)


def a_global_in_a_nested_container(path):
    planted = [{"a": ({"b": [reduce_to("subprocess.Popen", "touch executed")]},)}]
    write_zip(path, {"state_dict": GOOD, "hyper_parameters": planted}, STORAGES)


def a_path_out_of_the_archive(path):
    write_zip(path, GOOD, STORAGES, extra={"archive/../../executed": b"x"})


def a_tensor_of_10_terabytes(path):
    write_zip(path, {"weight": tensor(NUMBERS, "0", numel=10**13 // 4)}, STORAGES)


def a_view_of_10_terabytes(path):
    planted = tensor(NUMBERS, "0", size=(10**13 // 4,), stride=(0,))
    write_zip(path, {"weight": planted}, STORAGES)


def a_truncated_archive(path):
    write_zip(path, GOOD, STORAGES)
    path.write_bytes(path.read_bytes()[:-100])


def a_storage_of_another_size(path):
    state = {"a": tensor(NUMBERS, "0"), "b": tensor(NUMBERS[:5], "1")}
    write_zip(path, state, {"0": NUMBERS[:5], "1": NUMBERS})


def a_storage_of_another_type(path):
    state = {"a": tensor(NUMBERS, "0"), "b": tensor(np.zeros(12, np.int64), "0")}
    write_zip(path, state, STORAGES)


def safetensors_of_10_terabytes(path):
    entry = {"dtype": "F32", "shape": [10**13 // 4], "data_offsets": [0, 10**13]}
    path.write_bytes(header({"weight": entry}) + b"\0" * 64)


def a_safetensors_header_of_10_terabytes(path):
    path.write_bytes(struct.pack("<Q", 10**13) + b"{}")


def truncated_safetensors(path):
    safetensors.numpy.save_file({"weight": NUMBERS}, path)
    path.write_bytes(path.read_bytes()[:-8])


def safetensors_that_overlap(path):
    entry = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    path.write_bytes(header({"a": entry, "b": entry}) + b"\0" * 64)


# What writes the file -> what the one line must name.
ATTACKS = {
    os_system: "its pickle names os.system",
    eval_in_the_older_layout: "its pickle names builtins.eval",
    a_global_in_a_nested_container: "its pickle names subprocess.Popen",
    a_path_out_of_the_archive: "'archive/../../executed' leaves its folder",
    a_tensor_of_10_terabytes: "declares 10,000,000,000,000",
    a_view_of_10_terabytes: "declares 2,500,000,000,000 values",
    a_truncated_archive: "its archive breaks off after 525 bytes",
    a_storage_of_another_size: "'0' has 20 bytes, but the pickle declares 96",
    a_storage_of_another_type: "'0' is declared in two ways: 24 float32 and 12 int64",
    safetensors_of_10_terabytes: "'weight' declares bytes up to 10,000,000,000,000",
    a_safetensors_header_of_10_terabytes: "declares 10,000,000,000,000 bytes, 10 are",
    truncated_safetensors: "'weight' declares bytes up to 96, 88 are there",
    safetensors_that_overlap: "invalid offset for tensor `",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_one_line_within_a_second(attack, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suffix = ".safetensors" if "safetensors" in attack.__name__ else ".ckpt"
    path = tmp_path / f"x{suffix}"
    attack(path)
    run = []
    monkeypatch.setattr(os, "system", run.append)
    monkeypatch.setattr("subprocess.Popen", run.append)
    monkeypatch.setattr("builtins.eval", run.append)

    def refused():
        assert main([str(path), str(tmp_path / "out")]) == 1
        return capsys.readouterr()

    printed = within(1, refused)
    monkeypatch.undo()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {path} cannot be used: ")
    assert printed.err.count("\n") == 1
    assert ATTACKS[attack] in printed.err
    assert not run
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
