"""AdaFace's published keys and layouts <-> this project's variables.

The map goes by the model's own tree, so it is complete by construction: every variable
has one key, and both directions use the same one. Published kernels are PyTorch's,
[out, in, height, width] and [out, in]; the embedding matrix has its columns in
channels, height, width order. The keys here have no container's prefix.
"""

import numpy as np
from jaxtyping import Float32

# Prefix of the network's keys -> colour order; None where the container does not say.
CONTAINERS = {"model.": "BGR", "model.net.": "RGB", "net.": "RGB", "": None}

# A Lightning file's own: the training loss's classes and statistics.
TRAINING_HEAD = ("head.kernel", "head.t", "head.batch_mean", "head.batch_std")
COUNTER = "num_batches_tracked"
CELLS = 7  # along a side of the feature maps of 112x112 pixels

FIRST = "input_layer.0.weight"
_NAMES = {
    "stem": "input_layer",
    "body": "body",
    "conv": "0",
    "norm": "1",
    "norm1": "res_layer.0",
    "conv1": "res_layer.1",
    "norm2": "res_layer.2",
    "prelu": "res_layer.3",
    "conv2": "res_layer.4",
    "norm3": "res_layer.5",
    "projection": "shortcut_layer",
    "norm_maps": "output_layer.0",
    "linear": "output_layer.3",
    "norm_embeddings": "output_layer.4",
    "kernel": "weight",
    "slope": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def published_name(path: tuple[str | int, ...]) -> str:
    """Return the published key of a variable, without a container's prefix."""
    part, *names = path
    if part == "backbone" and names[0] == "stem":
        # The stem numbers its layers like a shortcut and has a rectifier behind.
        names = ["stem", {"prelu": "2"}.get(str(names[1]), names[1]), *names[2:]]
    return ".".join(_NAMES.get(str(name), str(name)) for name in names)


def published_shape(
    path: tuple[str | int, ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the published shape of a variable."""
    if path[-1] != "kernel":
        return shape
    axes = (1, 0) if len(shape) == 2 else (3, 2, 0, 1)
    return tuple(shape[axis] for axis in axes)


def from_published(
    path: tuple[str | int, ...], tensor: np.ndarray
) -> Float32[np.ndarray, "..."]:
    """Return a variable from its published tensor."""
    tensor = tensor.astype(np.float32)
    if _is_embedding_matrix(path):
        num_dimensions, num_inputs = tensor.shape
        cells = tensor.reshape(num_dimensions, -1, CELLS, CELLS)
        tensor = cells.transpose(2, 3, 1, 0).reshape(num_inputs, num_dimensions)
    elif tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(tensor)


def to_published(
    path: tuple[str | int, ...], variable: Float32[np.ndarray, "..."]
) -> Float32[np.ndarray, "..."]:
    """Return the published tensor of a variable; undoes `from_published`."""
    if _is_embedding_matrix(path):
        num_inputs, num_dimensions = variable.shape
        cells = variable.reshape(CELLS, CELLS, -1, num_dimensions)
        variable = cells.transpose(3, 2, 0, 1).reshape(num_dimensions, num_inputs)
    elif variable.ndim == 4:
        variable = variable.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(variable)


def _is_embedding_matrix(path: tuple[str | int, ...]) -> bool:
    return path[-2:] == ("linear", "kernel")
