import os
import struct
import zipfile
from io import BytesIO

import ml_dtypes
import numpy as np
import pytest
from promptness import within
from torch_writer import (
    ORDERED_DICT,
    Call,
    Global,
    Outside,
    contiguous,
    parameter,
    pickled,
    tensor,
    write_legacy,
    write_zip,
)

from sdd_jax.errors import InputError
from weights_conversion import pickle_names, pickles, torch_files

NUMBERS = np.arange(24, dtype=np.float32)
WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


def read(path):
    """Return the tensors of a file with one dict of them."""
    [part] = torch_files.read(path, lambda names: bool(names)).parts
    return part.tensors


def refusal_of(path):
    def refused():
        with pytest.raises(InputError) as caught:
            read(path)
        return str(caught.value)

    message = within(1, refused)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "nothing of it was run" in message
    return message


@WRITERS
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16, "int64"]
)
def test_every_type_of_weights_comes_back_as_it_was(write, dtype, tmp_path):
    arrays = {
        "matrix": np.arange(6).astype(dtype).reshape(2, 3),
        "scalar": np.array(7, dtype),
    }
    found = read(write(tmp_path / "x.pt", *contiguous(arrays)))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@WRITERS
def test_tensors_that_share_a_storage_are_views_of_it(write, tmp_path):
    state = {
        "all": tensor(NUMBERS, "0", size=(4, 6), stride=(6, 1)),
        "transposed": tensor(NUMBERS, "0", size=(6, 4), stride=(1, 6)),
        "every_second": tensor(NUMBERS, "0", size=(5,), stride=(2,), offset=3),
        "parameter": parameter(tensor(NUMBERS, "0")),
        "none": tensor(NUMBERS, "0", size=(0, 7), stride=(7, 1), offset=24),
    }
    found = read(write(tmp_path / "x.pt", state, {"0": NUMBERS}))
    np.testing.assert_array_equal(found["all"], NUMBERS.reshape(4, 6))
    np.testing.assert_array_equal(found["transposed"], NUMBERS.reshape(4, 6).T)
    np.testing.assert_array_equal(found["every_second"], [3, 5, 7, 9, 11])
    np.testing.assert_array_equal(found["parameter"], NUMBERS)
    assert found["none"].shape == (0, 7)
    assert np.shares_memory(found["all"], found["parameter"])


@WRITERS
def test_of_a_lightning_file_only_what_is_wanted_is_read(write, tmp_path):
    model_checkpoint = Global("pytorch_lightning.callbacks", "ModelCheckpoint")
    scalar = Call(
        Global("numpy.core.multiarray", "scalar"),
        (
            Call(Global("numpy", "dtype"), ("f8", False, True), (3, "<", None)),
            Call(Global("_codecs", "encode"), ("\x00" * 8, "latin1")),
        ),
    )
    tensors = {"weight": tensor(NUMBERS, "0")}
    state = Call(
        ORDERED_DICT, ([[k, v] for k, v in tensors.items()],), {"_metadata": {}}
    )
    value = {
        "epoch": 3,
        "hyper_parameters": Call(Global("argparse", "Namespace"), (), {"lr": 0.1}),
        "callbacks": [Call(model_checkpoint), {model_checkpoint: {"best": scalar}}],
        "device": Call(Global("torch", "device"), ("cuda",)),
        "state_dict": state,
        "optimizer": {"state": {0: tensor(NUMBERS, "0")}},
    }
    path = write(tmp_path / "x.ckpt", value, {"0": NUMBERS})
    [part] = torch_files.read(path, lambda names: "weight" in names).parts
    assert list(part.tensors) == ["weight"]
    np.testing.assert_array_equal(part.tensors["weight"], NUMBERS)
    assert part.where == "state_dict"
    names = ["epoch", "hyper_parameters", "callbacks", "device", "optimizer"]
    assert sorted(part.beside) == sorted(names)


def _planted(call, place):
    good = {"state_dict": {"weight": tensor(NUMBERS, "0")}}
    if place == "top":
        return call
    if place == "nested":
        return good | {"hyper_parameters": [{"a": ({"b": [call]},)}]}
    if place == "argument":
        return good | {"x": Call(Global("argparse", "Namespace"), (call,))}
    return {"state_dict": {"weight": parameter(call)}}


@WRITERS
@pytest.mark.parametrize("place", ["top", "nested", "argument", "parameter"])
@pytest.mark.parametrize(
    "name",
    [
        "posix.system",
        "os.system",
        "builtins.eval",
        "__builtin__.eval",
        "builtins.getattr",
        "subprocess.Popen",
        "runpy.run_path",
        "torch.load",
        "torch.hub.load",
        "numpy.testing._private.utils.runstring",
        "functools.partial",
        "torch_writer.pickled",
    ],
)
def test_a_dangerous_name_is_refused_by_name(write, name, place, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("it was run"))
    monkeypatch.setattr("builtins.eval", lambda text: pytest.fail("it was run"))
    call = Call(Global(*name.rsplit(".", 1)), (f"touch {tmp_path}/executed",))
    value = _planted(call, place)
    message = refusal_of(write(tmp_path / "x.ckpt", value, {"0": NUMBERS}))
    assert f"its pickle names {name};" in message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("module", ["os", "posix\nsystem"])
def test_a_name_that_is_put_together_on_the_stack_is_refused(module, tmp_path):
    text = b"".join(
        b"\x8c" + bytes([len(part)]) + part for part in (module.encode(), b"system")
    )
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + text + b"\x93(\x91.")
    assert ascii(f"{module}.system")[1:-1] in refusal_of(path)


def test_an_object_in_the_place_of_a_tensor_is_told_by_name(tmp_path):
    made = Call(Global("pathlib", "PosixPath"), ("/etc",))
    value = {"w": made, "a": tensor(NUMBERS, "0"), "epoch": 3}
    path = write_zip(tmp_path / "x.ckpt", value, {"0": NUMBERS})
    [part] = torch_files.read(path, any).parts
    assert list(part.tensors) == ["a"]
    assert part.others == {"w": "a pathlib.PosixPath", "epoch": "an int"}


@WRITERS
@pytest.mark.parametrize(
    "call",
    [
        Call(Global("posix", "system"), ("touch executed",)),
        Call(Global("__builtin__", "getattr"), (Global("os", "path"), "join")),
        Call(Global("__builtin__", "getattr"), (Global("pathlib", "Path"), "home")),
        Call(Global("functools", "partial"), (Global("nt", "system"), "calc")),
        Call(Global("functools", "partial"), ("touch executed",)),
        Global("os", "system"),
        Global("commands", "getoutput"),
        Global("lightning.fabric", "os.system"),
        Call(Global("pip", "main"), (["install"],)),
        Call(Global("torch._C", "compile"), ("x",)),
        Call(Global("numpy", "load"), ("x",)),
    ],
    ids=lambda call: str(getattr(call, "function", call)),
)
def test_a_name_that_no_trainer_writes_is_refused_wherever_it_is(write, call, tmp_path):
    value = {"state_dict": {"a": tensor(NUMBERS, "0")}, "hparams": {"x": [call]}}
    message = refusal_of(write(tmp_path / "x.ckpt", value, {"0": NUMBERS}))
    assert "its pickle names " in message


@pytest.mark.parametrize(
    ("name", "may_stand", "may_be_called"),
    [
        ("collections.Counter", True, True),
        ("__builtin__.set", True, True),
        ("pathlib._local.PosixPath", True, True),
        ("subprocess.Popen", False, None),
        ("builtins.eval", False, None),
        ("train.Options", True, True),
        ("train.options", True, False),
        ("torch.optim.lr_scheduler.OneCycleLR._annealing_cos", True, True),
        ("torch.load", True, False),
        ("torch.hub.load", True, False),
        ("train.subprocess.Popen", False, None),
        ("train\n.Options", False, None),
    ],
)
def test_the_names_of_trainers_and_of_attackers(name, may_stand, may_be_called):
    assert pickle_names.may_stand(name) == may_stand
    if may_stand:
        assert pickle_names.may_be_called(name) == may_be_called


@pytest.mark.parametrize("name", ["../evil", "/evil", "archive/../../evil", "a\\..\\b"])
def test_an_entry_that_leaves_its_folder_is_refused(name, tmp_path):
    state = {"w": tensor(NUMBERS, "0")}
    path = write_zip(tmp_path / "x.pt", state, {"0": NUMBERS}, extra={name: b"x"})
    assert ascii(name) in refusal_of(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


@WRITERS
def test_a_storage_of_10_terabytes_is_refused(write, tmp_path):
    state = {"w": tensor(NUMBERS, "0", numel=10**13 // 4)}
    message = refusal_of(write(tmp_path / "x.pt", state, {"0": NUMBERS}))
    assert "10,000,000,000,000" in message


@WRITERS
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": (10**13,), "stride": (0,)}, "10,000,000,000,000"),
        ({"size": (10**13,), "stride": (1,)}, "10,000,000,000,000"),
        ({"size": (25,)}, "declares 25 values"),
        ({"size": (24,), "offset": 1}, "up to number 25"),
        ({"size": (24,), "offset": -1}, "no counts"),
        ({"size": (2,), "stride": (-1,)}, "no counts"),
        ({"size": (2.0,), "stride": (1,)}, "no counts"),
        ({"size": (2, 3), "stride": (1,)}, "2 sizes, 1 strides"),
        ({"size": ("a",), "stride": (1,)}, "no counts"),
        ({"size": 3, "stride": 3}, "no tuples"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(write, options, reason, tmp_path):
    state = {"w": tensor(NUMBERS, "0", **options)}
    assert reason in refusal_of(write(tmp_path / "x.pt", state, {"0": NUMBERS}))


@WRITERS
def test_swapped_storages_are_refused(write, tmp_path):
    state = {"a": tensor(NUMBERS, "0"), "b": tensor(NUMBERS[:5], "1")}
    storages = {"0": NUMBERS[:5], "1": NUMBERS}
    message = refusal_of(write(tmp_path / "x.pt", state, storages))
    assert "storage '0' has 20 bytes, but the pickle declares 96" in message


@WRITERS
def test_a_missing_storage_is_refused(write, tmp_path):
    refusal_of(write(tmp_path / "x.pt", {"a": tensor(NUMBERS, "0")}))


@WRITERS
def test_a_truncated_file_is_refused_wherever_it_ends(write, tmp_path):
    arrays = {"a": NUMBERS, "b": NUMBERS.reshape(4, 6)}
    whole = write(tmp_path / "x.pt", *contiguous(arrays)).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "x.pt").write_bytes(whole[:length])
        refusal_of(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_zip, "its archive breaks off after {:,} bytes"),
        (write_legacy, "storage '0' has 76 bytes, but the pickle declares 96"),
    ],
)
def test_a_file_that_came_in_part_is_to_be_downloaded_again(write, reason, tmp_path):
    path = write(tmp_path / "x.ckpt", *contiguous({"a": NUMBERS}))
    path.write_bytes(path.read_bytes()[:-20])
    reason = reason.format(path.stat().st_size)
    assert refusal_of(path) == (
        f"{path} cannot be used: {reason}; nothing of it was run: download it again"
    )


def test_what_is_whole_is_not_to_be_downloaded_again(tmp_path):
    message = refusal_of(write_zip(tmp_path / "x.ckpt", Global("os", "system")))
    assert message.endswith("saved alone: torch.save(model.state_dict(), PATH)")


@pytest.mark.slow
@WRITERS
@pytest.mark.parametrize("byte", [0x00, 0x21, 0xFF])
def test_any_changed_byte_is_refused_or_harmless(write, byte, tmp_path):
    path = write(tmp_path / "x.pt", {"a": tensor(NUMBERS, "0")}, {"0": NUMBERS})
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        try:
            torch_files.read(path, any)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(whole) / 4


def test_a_changed_byte_of_a_storage_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.pt", {"a": tensor(NUMBERS, "0")}, {"0": NUMBERS})
    contents = bytearray(path.read_bytes())
    contents[contents.index(NUMBERS.tobytes())] ^= 1
    path.write_bytes(contents)
    assert "CRC" in refusal_of(path)


def test_a_name_as_long_as_the_file_is_cut(tmp_path):
    path = write_zip(tmp_path / "x.pt", {"a": tensor(NUMBERS, "0")}, {"0": NUMBERS})
    contents = bytearray(path.read_bytes())
    # The length of the first name, in the header before it.
    contents[26:28] = struct.pack("<H", 600)
    path.write_bytes(contents)
    assert len(refusal_of(path)) < 600


def test_a_compressed_archive_is_refused(tmp_path):
    state, storages = contiguous({"a": np.zeros(10**6, np.float32)})
    path = write_zip(
        tmp_path / "x.pt", state, storages, compression=zipfile.ZIP_DEFLATED
    )
    assert "is compressed" in refusal_of(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    extra = {"archive/data.pkl": pickled({})}
    assert "twice" in refusal_of(write_zip(tmp_path / "x.pt", {}, extra=extra))


def test_big_endian_storages_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled({}))
        archive.writestr("archive/byteorder", "big")
    assert "not little-endian" in refusal_of(path)


@pytest.mark.parametrize(
    ("value", "outline"),
    [
        ({}, "no tensors, but an empty dict"),
        (3, "an int and no dict"),
        ({"state_dict": {}}, "no tensors, but 'state_dict'"),
        (Call(Global("net", "Backbone")), "a net.Backbone and no dict"),
        (
            {"epoch": 3, "a": [{"b": tensor(NUMBERS, "0")}]},
            "1 tensors in 'a/0': 'b'",
        ),
    ],
)
def test_what_is_in_a_file_without_the_wanted_is_told(value, outline, tmp_path):
    path = write_zip(tmp_path / "x.pt", value, {"0": NUMBERS})
    contents = torch_files.read(path, lambda names: False)
    assert contents.parts == ()
    assert contents.outline == outline


@pytest.mark.parametrize(
    "pickle",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02Q.",
        b"\x80\x02}q\xff",
        b"\x80\x02h\x05.",
        b"\x80\x02u.",
        b"\x80\x02(0.",
        b"\x80\x02)b.",
        b"\x80\x02NNR.",
        b"\x80\x02NN\x86R.",
        b"\x80\x02]N(s.",
        b"\x80\x02\x82\x01.",  # an extension code
        b"\x80\x02Pos\n.",  # a persistent id in text
        b"\x80\x05\x97.",  # an out-of-band buffer
        b"\x80\x02r\xff\xff\xff\xff.",  # a place in the memo beyond 4 billion
        b"\x80\x05\x8e" + struct.pack("<Q", 10**13) + b"x.",  # 10 TB of bytes
        b"\x80\x05\x96" + struct.pack("<Q", 10**13) + b"x.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\x80\x02)" + b"\x85" * 10_000 + b"}\x87.",
    ],
    ids=lambda pickle: pickle[:12].hex(),
)
def test_a_damaged_pickle_is_refused(pickle, tmp_path):
    legacy, zipped = tmp_path / "legacy.pt", tmp_path / "zip.pt"
    legacy.write_bytes(pickle)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
    for path in (legacy, zipped):
        assert len(refusal_of(path)) < 1000


def test_a_pickle_of_too_many_instructions_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 100)
    path = tmp_path / "x.pt"
    path.write_bytes(b"N" * 99 + b".")
    assert "its pickle is damaged" in refusal_of(path)
    path.write_bytes(b"N" * 100 + b".")
    assert "more than 100 instructions" in refusal_of(path)


def test_keys_that_are_no_text_stand_beside_the_tensors(tmp_path):
    # {(((...))): None, 5: None, "a": 1}
    deep = b"}" + b")" + b"\x85" * 20_000 + b"NsK\x05NsX\x01\0\0\0aK\x01s"
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + deep + b".")
    outline = torch_files.read(path, any).outline
    assert outline == "no tensors, but 'builtins.tuple', '5', 'a'"


def test_dicts_in_themselves_and_far_down_end(tmp_path):
    # d = {}; d["a"] = d, beside a dict in a dict in a dict, a thousand times.
    own = b"}q\x01X\x01\0\0\0ah\x01s"
    deep = b"X\x01\0\0\0b" + b"}X\x01\0\0\0c" * 1000 + b"}" + b"s" * 1000 + b"s"
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + own + deep + b".")
    assert torch_files.read(path, any).outline == "no tensors, but 'a', 'b'"


@pytest.mark.parametrize(
    "persistent_id",
    [
        "storage",
        ("module", "x"),
        ("storage", Global("torch", "device"), "0", "cpu", 1),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", -1),
        ("storage", Global("torch", "FloatStorage"), 0, "cpu", 1),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", 1, ("1", 0, 1)),
    ],
)
def test_a_reference_to_something_else_is_refused(persistent_id, tmp_path):
    path = write_zip(tmp_path / "x.pt", {"a": Outside(persistent_id)})
    assert "no storage" in refusal_of(path)


def test_one_storage_declared_in_two_ways_is_refused(tmp_path):
    state = {"a": tensor(NUMBERS, "0"), "b": tensor(NUMBERS, "0", numel=12)}
    message = refusal_of(write_zip(tmp_path / "x.pt", state, {"0": NUMBERS}))
    reason = "storage '0' is declared in two ways: 24 float32 and 12 float32;"
    assert reason in message


def test_a_missing_file_is_refused(tmp_path):
    refusal_of(tmp_path / "nowhere.pt")


def test_the_reader_leaves_the_stream_behind_the_pickle():
    stream = BytesIO(pickled([1, 2.5, "a", None, True]) + b"rest")
    value = pickles.read(stream, lambda name: None)
    assert value == [1, 2.5, "a", None, True]
    assert stream.read() == b"rest"
