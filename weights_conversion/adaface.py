"""AdaFace's published checkpoints -> the variables of `IRResNet` and `FlatEmbedding`.

Reads the Lightning `.ckpt`, CVLface's `.safetensors` and `.pt`, and state dicts under
any names and prefixes (`networks`). The architecture is told from the tensors. The
prefix of a published container says for which colour order the network was trained; no
other does, and such a network is taken as AdaFace's own BGR unless the caller knows
better. Every variable is filled, every tensor under the network's prefix is used or
listed as dropped, and all else in the file is kept or listed as passed over. Dropped:

- `num_batches_tracked` of every normalisation: counts that evaluation does not use.

A Lightning file's `head.kernel`, `head.t`, `head.batch_mean` and `head.batch_std`, the
training loss's classes and statistics, are kept as they are, for an export. No model
here uses them.

References:
    Kim, Jain, Liu. AdaFace: Quality Adaptive Margin for Face Recognition. CVPR 2022.
"""

import functools
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
from weights_conversion import networks, safetensors_files, torch_files
from weights_conversion.adaface_names import (
    COUNTER,
    FIRST,
    TRAINING_HEAD,
    from_published,
    published_name,
    published_shape,
)
from weights_conversion.kinds import Kind
from weights_conversion.networks import Network

WHERE = "https://github.com/mk-minchul/AdaFace or https://huggingface.co/minchul"
_MOST = 12  # things that are wrong, in a message


def load(
    path: Path,
    kind: Kind,
    *,
    arch: str | None = None,
    colour_order: str | None = None,
    part: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a published network's description, its arrays and what to say of it.

    The arrays are named trees, as in a checkpoint: "model", the variables, and
    "training_head" where the file has one.

    Args:
        path: the file.
        kind: torch or safetensors.
        arch: what the file must hold.
        colour_order: RGB or BGR, which must be the container's if that says it.
        part: the name of the network in the file, where it holds several.

    Raises:
        InputError: the file is damaged or another network's, or is not what was said.
    """
    if kind == "safetensors":
        contents = safetensors_files.read(path)
    else:
        contents = torch_files.read(path, networks.may_hold_one)
    try:
        network, equal = networks.find(contents, part)
        _refuse_an_export(network)
        found = _find_architecture(network.tensors)
        if arch not in (None, found):
            raise InputError(f"found {found}, but --arch says {arch}: leave it out")
        order, order_by = _colour_order(network, colour_order)
        description = _description(found) | {"input": {"colour_order": order}}
        wrong: list[str] = []
        training_head = _training_head(network, wrong)
        variables, counters = _fill(found, network, wrong)
    except InputError as error:
        raise InputError(f"{path} does not fit: {error}") from None
    near = [n for n in network.near if networks.unwrapped(n) not in training_head]
    passed_over = *networks.summary(near), *network.beside
    card = {
        "part": network.name if network.name != "." else "the whole file",
        "architecture": found,
        "colour_order": order,
        "colour_order_by": order_by,
        "num_used": len(network.tensors) - len(counters),
        "kept": ", ".join(training_head) or "nothing",
        "num_dropped": len(counters),
        "dropped": f"{len(counters)} {COUNTER}" if counters else "nothing",
        "passed_over": ", ".join(passed_over) or "nothing",
    }
    if equal:
        card["equal_parts"] = ", ".join(equal)
    trees = {"model": variables}
    if training_head:
        trees["training_head"] = {
            name.removeprefix("head."): x for name, x in training_head.items()
        }
    return description, trees, card


def _refuse_an_export(network: Network) -> None:
    has_head = "head.weight" in (*network.near, *network.tensors)
    if has_head and not any(n.startswith("output_layer.") for n in network.tensors):
        raise InputError(
            "found head.weight and no output_layer, expected a published network: it "
            "is a classifier exported for PyTorch's tools; use the checkpoint that it "
            "was made from"
        )


def _colour_order(network: Network, said: str | None) -> tuple[str, str]:
    """Return the colour order, and where it is known from."""
    published = network.colour_order
    if published and said not in (None, published):
        raise InputError(
            f"found a network for {published} (prefix {network.prefix!r}), but "
            f"--colour-order says {said}: leave it out"
        )
    if published:
        return published, f"the prefix {network.prefix}"
    if said:
        return said, "the command"
    if not network.prefix:
        return "BGR", "assumed: the keys have no prefix"
    return "BGR", f"assumed: the prefix {network.prefix} does not say"


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


def _training_head(network: Network, wrong: list[str]) -> dict[str, np.ndarray]:
    """Return what is kept of a Lightning file's loss; add to what is wrong."""
    found = {}
    near = {networks.unwrapped(name): x for name, x in network.near.items()}
    for name in sorted(near.keys() & set(TRAINING_HEAD)):
        if network.prefix != "model.":
            break
        tensor = near[name]
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            wrong.append(f"{name} is of {tensor.dtype}, expected floats")
            continue
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(tensor, np.float32)
        if not np.isfinite(array).all():
            wrong.append(f"{name} holds a value that is no finite float32")
        found[name] = array.reshape(tensor.shape)
    return found


def _description(arch: str) -> dict[str, Any]:
    return {
        "backbone": {"name": "ir_resnet", "arch": arch},
        "head": {"name": "flat_embedding"},
    }


@functools.cache
def _shapes(arch: str) -> Any:
    """Return a tree of the variables' shapes."""
    build = functools.partial(models.build, _description(arch))
    return nnx.eval_shape(lambda: models.variables(build()))


def _fill(
    arch: str, network: Network, wrong: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """Return the variables and the names of the counters.

    Args:
        arch: of the model.
        network: the file's.
        wrong: what is wrong already, to be listed with all else.
    """
    tensors = network.tensors
    shapes = _shapes(arch)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    paths = [tuple(entry.key for entry in path) for path, _ in leaves]
    names = [published_name(path) for path in paths]
    counters = {
        f"{name.removesuffix('running_mean')}{COUNTER}"
        for name in names
        if name.endswith(".running_mean")
    } & tensors.keys()
    unknown = tensors.keys() - set(names) - counters
    values = []
    for path, name, (_, leaf) in zip(paths, names, leaves, strict=True):
        expected = published_shape(path, leaf.shape)
        tensor = tensors.get(name)
        if name in network.others:
            wrong.append(f"{name} is {network.others[name]}, not a tensor")
        elif tensor is None:
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
    wrong += [f"{ascii(name)} is unknown" for name in sorted(unknown)]
    if wrong:
        more = [f"and {len(wrong) - _MOST:,} more"] if len(wrong) > _MOST else []
        raise InputError("; ".join(wrong[:_MOST] + more))
    return jax.tree_util.tree_unflatten(structure, values), counters
