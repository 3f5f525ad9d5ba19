"""AdaFace's published checkpoints -> the variables of `IRResNet` and `FlatEmbedding`.

Reads the Lightning `.ckpt`, CVLface's `.safetensors` and `.pt`, and bare state dicts.
The architecture is told from the tensors. The container's prefix says for which colour
order the network was trained; a bare state dict does not, and is taken as AdaFace's own
BGR unless the caller knows better. The names' map goes by the model's own tree, so
every variable is filled and every tensor is used or is listed here as dropped:

- `num_batches_tracked` of every normalisation: counts that evaluation does not use;
- `head.kernel`, `head.t`, `head.batch_mean`, `head.batch_std` of a Lightning file: the
  training loss's classes and statistics.

References:
    Kim, Jain, Liu. AdaFace: Quality Adaptive Margin for Face Recognition. CVPR 2022.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import nnx
from jaxtyping import Float32

from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.models.ir_resnet import ARCHITECTURES
from weights_conversion import torch_files

SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors")

# Prefix of the network's keys -> colour order; None where the container does not say.
CONTAINERS = {"model.": "BGR", "model.net.": "RGB", "net.": "RGB", "": None}

DROPPED_FROM_LIGHTNING = ("head.kernel", "head.t", "head.batch_mean", "head.batch_std")
COUNTER = "num_batches_tracked"

_FIRST = "input_layer.0.weight"
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

_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("<i8"),
}


def load(
    path: Path, *, arch: str | None = None, colour_order: str | None = None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a published network's description, its variables and what to say of it.

    Args:
        path: a file of SUFFIXES.
        arch: what the file must hold.
        colour_order: RGB or BGR, which must be the container's if that says it.

    Raises:
        InputError: the file is damaged or another network's, or is not what was said.
    """
    read = read_safetensors if path.suffix == ".safetensors" else torch_files.read
    tensors = read(path)
    try:
        prefix = _find_prefix(tensors)
        network = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        others = sorted(tensors.keys() - {prefix + name for name in network})
        found = _find_architecture(network)
        if arch not in (None, found):
            raise InputError(f"found {found}, but --arch says {arch}: leave it out")
        published = CONTAINERS[prefix]
        if published and colour_order not in (None, published):
            raise InputError(
                f"found a network for {published} (prefix {prefix!r}), but "
                f"--colour-order says {colour_order}: leave it out"
            )
        order = published or colour_order or "BGR"
        description = {
            "backbone": {"name": "ir_resnet", "arch": found},
            "head": {"name": "flat_embedding"},
            "input": {"colour_order": order},
        }
        allowed = DROPPED_FROM_LIGHTNING if prefix == "model." else ()
        wrong = [f"{ascii(name)} is unknown" for name in others if name not in allowed]
        variables, counters = _fill(description, network, wrong)
    except InputError as error:
        raise InputError(f"{path} does not fit: {error}") from None
    said = "the command" if colour_order else "assumed: the keys have no prefix"
    dropped = [f"{len(counters)} {COUNTER}"] * bool(counters) + others
    card = {
        "architecture": found,
        "colour_order": order,
        "colour_order_by": f"the prefix {prefix}" if published else said,
        "num_used": len(network) - len(counters),
        "num_dropped": len(counters) + len(others),
        "dropped": ", ".join(dropped) or "nothing",
    }
    return description, variables, card


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a `.safetensors` file, of any type that weights have.

    Raises:
        InputError: the file is damaged or holds tensors of another type.
    """
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be used: {reason}; expected the weights as published"
        ) from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise InputError(
                f"{path} cannot be used: {ascii(name)} is of type {entry['dtype']}, "
                f"expected {', '.join(_SAFETENSORS_DTYPES)}"
            )
        flat = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


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
    if path[-2:] == ("linear", "kernel"):
        # Columns are in channels, height, width order; 7x7 cells of 112x112 pixels.
        num_dimensions, num_inputs = tensor.shape
        cells = tensor.reshape(num_dimensions, num_inputs // 49, 7, 7)
        tensor = cells.transpose(2, 3, 1, 0).reshape(num_inputs, num_dimensions)
    elif tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(tensor)


def _find_prefix(tensors: Mapping[str, np.ndarray]) -> str:
    found = [n.removesuffix(_FIRST) for n in tensors if n.endswith(_FIRST)]
    if len(found) != 1 or found[0] not in CONTAINERS:
        names = ", ".join(ascii(prefix + _FIRST) for prefix in CONTAINERS)
        raise InputError(
            f"found {', '.join(ascii(n + _FIRST) for n in found) or 'no first layer'}, "
            f"expected one of {names}: it is no IR network of AdaFace"
        )
    return found[0]


def _find_architecture(network: Mapping[str, np.ndarray]) -> str:
    shape = network[_FIRST].shape
    units = {
        name.split(".")[1]
        for name in network
        if name.startswith("body.") and name.endswith(".res_layer.1.weight")
    }
    for arch, stages in ARCHITECTURES.items():
        known = sum(num_units for num_units, _ in stages), stages[0][1]
        if (len(units), *shape[:1]) == known:
            return arch
    raise InputError(
        f"found {len(units)} units after a first layer of {shape}, expected the 8, 16, "
        f"24 or 49 of IR-18, IR-34, IR-50 or IR-101"
    )


def _fill(
    description: Mapping[str, Any], network: Mapping[str, np.ndarray], wrong: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """Return the variables and the names of the counters.

    Args:
        description: of the model.
        network: the tensors by published key.
        wrong: what is wrong already, to be listed with all else.
    """
    shapes = nnx.eval_shape(lambda: models.variables(models.build(description)))
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    paths = [tuple(entry.key for entry in path) for path, _ in leaves]
    names = [published_name(path) for path in paths]
    counters = {
        f"{name.removesuffix('running_mean')}{COUNTER}"
        for name in names
        if name.endswith(".running_mean")
    } & network.keys()
    unknown = network.keys() - set(names) - counters
    wrong = wrong + [f"{ascii(name)} is unknown" for name in sorted(unknown)]
    values = []
    for path, name, (_, leaf) in zip(paths, names, leaves, strict=True):
        expected = published_shape(path, leaf.shape)
        tensor = network.get(name)
        if tensor is None:
            wrong.append(f"{name} is missing")
        elif tensor.shape != expected:
            wrong.append(f"{name} is {tensor.shape}, expected {expected}")
        elif not jnp.issubdtype(tensor.dtype, jnp.floating):
            wrong.append(f"{name} is of {tensor.dtype}, expected floats")
        else:
            with np.errstate(over="ignore"):
                values.append(from_published(path, tensor))
            if not np.isfinite(values[-1]).all():
                wrong.append(f"{name} holds a value that is no finite float32")
    if wrong:
        raise InputError("; ".join(wrong))
    return jax.tree_util.tree_unflatten(structure, values), counters
