"""A checkpoint of an AdaFace network -> a file for PyTorch, without PyTorch.

The suffix chooses the container, and the container's prefix says the colour order, as
in the published files; another order is refused, since a reader would mix up channels:

- `.ckpt`: {"state_dict": {"model.<key>": ...}}, for BGR;
- `.pt`: {"net.<key>": ...}, for RGB;
- `.safetensors`: "model.net.<key>", for RGB.

Keys and layouts are AdaFace's, values float32. `num_batches_tracked` is written as
zeros, int64: the count is not kept, evaluation does not use it, and strict loading asks
for it. A training head that a conversion kept is given back as `head.<name>`.

A fine-tuned network has no `output_layer` any more (load it with `strict=False`), but
its classifier: `head.weight` [classes, features] and `head.bias` [classes], without the
prefix. Logits are the mean of the last unit's maps over their cells, times the weights
transposed, plus the bias; the units that training standardised features with are part
of both. The optimiser's state is not written.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jaxtyping import Float32, Shaped

from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.models.heads import PooledHead
from weights_conversion import torch_writing
from weights_conversion.adaface_names import (
    CONTAINERS,
    COUNTER,
    published_name,
    to_published,
)

PREFIXES = {".ckpt": "model.", ".pt": "net.", ".safetensors": "model.net."}


def export(directory: Path, output: Path) -> dict[str, Any]:
    """Write the best step of a checkpoint to a file, and return what to say of it.

    Args:
        directory: a converted checkpoint or a fine-tuned workdir.
        output: ends in a suffix of PREFIXES; it appears whole or not at all.

    Raises:
        InputError: there is such a file already, its suffix stands for another colour
            order, or the checkpoint is a file or no network of AdaFace's.
    """
    suffix = output.suffix.lower()
    if suffix not in PREFIXES:
        raise InputError(
            f"{output} is no name for an export: expected one that ends in "
            f"{', '.join(PREFIXES)}"
        )
    if os.path.lexists(output):
        raise InputError(f"{output} exists already: choose another name or remove it")
    if directory.is_file():
        raise InputError(
            f"{directory} is a file; expected the folder of a converted checkpoint or "
            f"of a fine-tuned run"
        )
    step = checkpoints.best_step(directory)
    description = checkpoints.description(directory, step)
    described = description["model"]
    _check_network(directory, described)
    order = models.input_spec(described).colour_order
    prefix = PREFIXES[suffix]
    if CONTAINERS[prefix] != order:
        fitting = [s for s, p in PREFIXES.items() if CONTAINERS[p] == order]
        raise InputError(
            f"{directory} holds a network for {order}, but {suffix} says "
            f"{CONTAINERS[prefix]} (prefix {prefix!r}): choose a name that ends in "
            f"{' or '.join(fitting)}"
        )
    model = models.load(directory, step=step)
    training_head = _training_head(directory, step, description)
    variables = models.variables(model)
    if isinstance(model.head, PooledHead):
        del variables["head"]
        classifier = classifier_tensors(model.head)
        head = f"{', '.join(classifier)}; no output_layer: load with strict=False"
    else:
        classifier, head = {}, "output_layer, as published"
    network = {
        prefix + name: tensor for name, tensor in network_tensors(variables).items()
    }
    tensors = network | classifier | training_head
    _write(output, tensors)
    return {
        "checkpoint": directory,
        "step": step,
        "architecture": described["backbone"]["arch"],
        "colour_order": order,
        "prefix": prefix,
        "head": head,
        "training_head": ", ".join(training_head) or "nothing",
        "num_tensors": len(tensors),
        "zeros": f"{sum(name.endswith(COUNTER) for name in network)} {COUNTER}",
    }


def network_tensors(
    variables: Mapping[str, Any],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return a network's tensors under AdaFace's keys, without a prefix.

    Args:
        variables: what `models.variables` returns; the head's only if it is AdaFace's
            output layer.
    """
    tensors = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(dict(variables))[0]:
        names = tuple(entry.key for entry in path)
        key = published_name(names)
        tensors[key] = to_published(names, np.asarray(leaf))
        if key.endswith(".running_mean"):
            tensors[f"{key.removesuffix('running_mean')}{COUNTER}"] = np.zeros((), "i8")
    return tensors


def classifier_tensors(head: PooledHead) -> dict[str, Float32[np.ndarray, "..."]]:
    """Return the one linear layer that a head is on raw averaged features."""
    return {
        "head.weight": np.ascontiguousarray(np.asarray(head.class_weights).T),
        "head.bias": np.asarray(head.bias),
    }


def _check_network(directory: Path, description: Mapping[str, Any]) -> None:
    parts = description["backbone"]["name"], description["head"]["name"]
    if parts not in (("ir_resnet", "flat_embedding"), ("ir_resnet", "pooled")):
        raise InputError(
            f"{directory} holds a {parts[0]} with the head {parts[1]}, which AdaFace's "
            f"files have no keys for: only an ir_resnet with flat_embedding or pooled "
            f"is exported"
        )


def _training_head(
    directory: Path, step: int, description: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return what a conversion kept of a Lightning file's loss, by published key."""
    shapes = description.get("training_head", {})
    if not shapes:
        return {}
    examples = {
        name: jax.ShapeDtypeStruct(tuple(shape), np.float32)
        for name, shape in shapes.items()
    }
    trees = checkpoints.load(directory, step, {"training_head": examples})
    return {f"head.{name}": array for name, array in trees["training_head"].items()}


def _write(output: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write the container that the suffix says, whole or not at all."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        in_the_way = next(p for p in output.parents if p.exists() and not p.is_dir())
        raise InputError(
            f"{output} cannot be made: {in_the_way} is a file, expected a folder; "
            f"choose another name"
        ) from error
    fresh = output.with_name(f".{output.name}-new")
    try:
        with fresh.open("wb") as stream:
            if output.suffix.lower() == ".safetensors":
                # What Hugging Face's loaders ask for.
                metadata = {"format": "pt"}
                stream.write(safetensors.numpy.save(dict(tensors), metadata))
            else:
                value, storages = torch_writing.tensors_and_storages(tensors)
                if output.suffix.lower() == ".ckpt":
                    value = {"state_dict": value}
                torch_writing.write_zip(stream, value, storages)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, output)
    finally:
        fresh.unlink(missing_ok=True)
