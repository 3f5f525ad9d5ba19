"""AdaFace's published checkpoints -> the variables of `IRResNet` and `FlatEmbedding`.

Reads the Lightning `.ckpt`, CVLface's `.safetensors` and `.pt`, and bare state dicts.
The architecture is told from the tensors. The container's prefix says for which colour
order the network was trained; a bare state dict does not, and is taken as AdaFace's own
BGR unless the caller knows better. Every variable is filled and every tensor is used,
kept, or listed here as dropped:

- `num_batches_tracked` of every normalisation: counts that evaluation does not use.

A Lightning file's `head.kernel`, `head.t`, `head.batch_mean` and `head.batch_std`, the
training loss's classes and statistics, are kept as they are, for an export. No model
here uses them.

References:
    Kim, Jain, Liu. AdaFace: Quality Adaptive Margin for Face Recognition. CVPR 2022.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.models.ir_resnet import ARCHITECTURES
from weights_conversion import safetensors_files, torch_files
from weights_conversion.adaface_names import (
    CONTAINERS,
    COUNTER,
    FIRST,
    TRAINING_HEAD,
    from_published,
    published_name,
    published_shape,
)

WHERE = "https://github.com/mk-minchul/AdaFace or https://huggingface.co/minchul"
SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors")


def load(
    path: Path, *, arch: str | None = None, colour_order: str | None = None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a published network's description, its arrays and what to say of it.

    The arrays are named trees, as in a checkpoint: "model", the variables, and
    "training_head" where the file has one.

    Args:
        path: a file of SUFFIXES.
        arch: what the file must hold.
        colour_order: RGB or BGR, which must be the container's if that says it.

    Raises:
        InputError: the file is damaged or another network's, or is not what was said.
    """
    read = safetensors_files.read if path.suffix == ".safetensors" else torch_files.read
    tensors = read(path)
    try:
        prefix = _find_prefix(tensors)
        network = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        others = sorted(tensors.keys() - {prefix + name for name in network})
        if "head.weight" in others and not any(
            name.startswith("output_layer.") for name in network
        ):
            raise InputError(
                "found head.weight and no output_layer, expected a published network: "
                "it is a classifier exported for PyTorch's tools; use the checkpoint "
                "that it was made from"
            )
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
        allowed = TRAINING_HEAD if prefix == "model." else ()
        wrong = [f"{ascii(name)} is unknown" for name in others if name not in allowed]
        kept = {name: tensors[name] for name in others if name in allowed}
        training_head = _as_float32(kept, wrong)
        variables, counters = _fill(description, network, wrong)
    except InputError as error:
        raise InputError(f"{path} does not fit: {error}") from None
    said = "the command" if colour_order else "assumed: the keys have no prefix"
    card = {
        "architecture": found,
        "colour_order": order,
        "colour_order_by": f"the prefix {prefix}" if published else said,
        "num_used": len(network) - len(counters),
        "kept": ", ".join(kept) or "nothing",
        "num_dropped": len(counters),
        "dropped": f"{len(counters)} {COUNTER}" if counters else "nothing",
    }
    trees = {"model": variables}
    if training_head:
        trees["training_head"] = training_head
    return description, trees, card


def _find_prefix(tensors: Mapping[str, np.ndarray]) -> str:
    found = [n.removesuffix(FIRST) for n in tensors if n.endswith(FIRST)]
    if len(found) != 1 or found[0] not in CONTAINERS:
        names = ", ".join(ascii(prefix + FIRST) for prefix in CONTAINERS)
        raise InputError(
            f"found {', '.join(ascii(n + FIRST) for n in found) or 'no first layer'}, "
            f"expected one of {names}: it is no IR network of AdaFace"
        )
    return found[0]


def _find_architecture(network: Mapping[str, np.ndarray]) -> str:
    shape = network[FIRST].shape
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


def _as_float32(
    tensors: Mapping[str, np.ndarray], wrong: list[str]
) -> dict[str, np.ndarray]:
    """Return the training head by its names without "head."; add to what is wrong."""
    found = {}
    for name, tensor in tensors.items():
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            wrong.append(f"{name} is of {tensor.dtype}, expected floats")
            continue
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(tensor, np.float32)
        if not np.isfinite(array).all():
            wrong.append(f"{name} holds a value that is no finite float32")
        found[name.removeprefix("head.")] = array.reshape(tensor.shape)
    return found


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
    wrong += [f"{ascii(name)} is unknown" for name in sorted(unknown)]
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
