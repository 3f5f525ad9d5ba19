"""Files of weights: dlib's, ONNX, both layouts of torch.save, safetensors."""

import importlib.util
import io
import pickle
import struct
import tempfile
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import safetensors.numpy
from onnx_writer import MODEL, WEIGHTS, model, part, real, whole
from published_files import CONTAINERS, drawn_tensors, write
from target import Target
from torch_writer import (
    ORDERED_DICT,
    Call,
    Global,
    contiguous,
    parameter,
    pickled,
    tensor,
    write_legacy,
    write_zip,
)

from weights_conversion import adaface, dlib, onnx_files

LARGE = 200  # bytes: what dlib's reader takes at once and is nothing but weights


class _Sparse(io.BytesIO):
    """dlib's file without its 22 MB of weights: four bytes stand for all of a layer."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < LARGE:
            return super().read(size)
        return super().read(4) * (size // 4)


class _SparsePath(PosixPath):
    """A path to such a file, as far as dlib's reader asks."""

    contents = b""

    def open(self, *_: Any, **__: Any) -> Any:
        return _Sparse(self.contents)


class _Recorded(io.BytesIO):
    """Keeps what `_Sparse` gives back."""

    def __init__(self, contents: bytes):
        super().__init__(contents)
        self.kept = b""

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        is_large = size is not None and size >= LARGE
        self.kept += found[:4] if is_large else found
        return found


def dlib_seeds() -> list[bytes]:
    """Return the published file without most of its weights."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0], "models")
    contents = (folder / "dlib_face_recognition_resnet_model_v1.dat").read_bytes()
    stream = _Recorded(contents)
    dlib._read_network(stream)
    return [stream.kept]


def _onnx_seeds() -> list[bytes]:
    head = whole(1, 2) + whole(2, 1) + part(8, b"w")
    return [
        MODEL,
        model(part(5, head + real(4, 1.5) + real(4, -2.0))),
        model(part(5, head + part(4, WEIGHTS[0, :2].tobytes()))),
    ]


def _read_dlib(contents: bytes, folder: Path) -> None:
    path = _SparsePath("sparse.dat")
    path.contents = contents
    dlib.load_params(path)


def _tensors() -> dict[str, np.ndarray]:
    """Return a network's tensors, each of one number: small files mutate best."""
    return {
        name: array.reshape(-1)[:1].copy()
        for name, array in drawn_tensors("ir_tiny").items()
        if name.startswith(("input_layer", "body.0"))
    }


_NUMBERS = np.arange(24, dtype=np.float32)
# What a trainer keeps beside its network.
_STATE = {
    "epoch": 3,
    "lr": [0.1, 1e-3, {"betas": (0.9, 0.999)}],
    1: None,
    "names": {"ann", "ben"},
}


def pickle_seeds() -> list[bytes]:
    """Return pickles of which `_NUMBERS` is the one storage."""
    weight = tensor(_NUMBERS, "0", size=(2, 3, 4), stride=(12, 4, 1))
    plain = {"input_layer.0.weight": weight, "b": parameter(weight)}
    odd = {"c": Call(ORDERED_DICT), "d": Global("torch", "float32"), "e": (1, [2.5])}
    return [
        pickled({"state_dict": plain, **odd}),
        pickled({"net.input_layer.0.weight": weight, "x": [plain, {"y": odd}]}),
        *(pickle.dumps(_STATE, protocol=protocol) for protocol in (0, 1, 2, 4, 5)),
    ]


def read_pickle(contents: bytes, folder: Path) -> None:
    """Read a pickle in an archive, whose checksum would refuse a damaged one."""
    path = write_zip(folder / "x.ckpt", None, {"0": _NUMBERS}, content=contents)
    adaface.load(path, "torch")


def _files(suffix: str) -> list[bytes]:
    """Return what the test-suite's own writers make of a network."""
    with tempfile.TemporaryDirectory() as scratch:
        return _files_in(Path(scratch), suffix)


def _files_in(folder: Path, suffix: str) -> list[bytes]:
    found = []
    for prefix in (CONTAINERS[suffix], ""):
        found.append(write(folder / f"x{suffix}", _tensors(), prefix).read_bytes())
    if suffix == ".ckpt":
        value, storages = contiguous({"input_layer.0.weight": _NUMBERS})
        flat = {key: x.reshape(-1) for key, x in storages.items()}
        found.append(write_legacy(folder / "y.ckpt", value, flat).read_bytes())
    return found


def _safetensors_seeds() -> list[bytes]:
    arrays = {"input_layer.0.weight": np.ones((1, 2), np.float32), "b": np.arange(2)}
    return [safetensors.numpy.save(arrays), *_files(".safetensors")]


def _read_safetensors(contents: bytes, folder: Path) -> None:
    path = folder / "x.safetensors"
    path.write_bytes(contents)
    adaface.load(path, "safetensors")


def safetensors_header(contents: bytes, folder: Path) -> None:
    """Read a header whose length is right, and no data behind."""
    head = struct.pack("<Q", len(contents)) + contents
    _read_safetensors(head + bytes(64), folder)


def _header_seeds() -> list[bytes]:
    entry = b'{"dtype":"F32","shape":[2,8],"data_offsets":[0,64]}'
    return [b'{"input_layer.0.weight":' + entry + b',"__metadata__":{"a":"b"}}']


def _read_torch(contents: bytes, folder: Path) -> None:
    path = folder / "x.ckpt"
    path.write_bytes(contents)
    adaface.load(path, "torch")


TARGETS = (
    Target("dlib", dlib_seeds, _read_dlib),
    Target("onnx", _onnx_seeds, lambda contents, folder: onnx_files.read(contents)),
    Target("torch files", lambda: _files(".ckpt"), _read_torch),
    Target("torch pickles", pickle_seeds, read_pickle),
    Target("safetensors", _safetensors_seeds, _read_safetensors),
    Target("safetensors' headers", _header_seeds, safetensors_header),
)
