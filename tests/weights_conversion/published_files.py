"""Files as AdaFace and CVLface publish them, made without PyTorch."""

import jax
import numpy as np
import safetensors.numpy
from flax import nnx
from torch_writer import contiguous, write_zip

from sdd_jax import models
from weights_conversion import adaface_names

# Suffix -> prefix, of the containers that say a colour order.
CONTAINERS = {".ckpt": "model.", ".pt": "net.", ".safetensors": "model.net."}


def description_of(arch):
    return {
        "backbone": {"name": "ir_resnet", "arch": arch},
        "head": {"name": "flat_embedding"},
    }


def shapes_of(arch):
    """Return the shape of every variable by its path."""
    tree = nnx.eval_shape(lambda: models.variables(models.build(description_of(arch))))
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {tuple(entry.key for entry in path): leaf.shape for path, leaf in leaves}


def drawn_tensors(arch):
    """Return a network's tensors under AdaFace's names, every number random."""
    rng = np.random.default_rng(0)
    tensors = {}
    for path, shape in shapes_of(arch).items():
        name = adaface_names.published_name(path)
        shape = adaface_names.published_shape(path, shape)
        # Such that the activations neither fade nor grow through the layers.
        scale = np.prod(shape[1:]) ** -0.5
        tensors[name] = rng.standard_normal(shape, np.float32) * np.float32(scale)
        if name.endswith("running_var"):
            tensors[name] = np.abs(tensors[name]) + np.float32(0.5)
        if name.endswith("running_mean"):
            counter = name.replace("running_mean", "num_batches_tracked")
            tensors[counter] = np.array(9)
    return tensors


def write(path, tensors, prefix=""):
    tensors = {prefix + name: array for name, array in tensors.items()}
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(tensors, path)
        return path
    lightning = prefix == "model."
    if lightning:
        tensors["head.kernel"] = np.ones((512, 3), np.float32)
        tensors["head.t"] = np.zeros(1, np.float32)
    tensors, storages = contiguous(tensors)
    value = {"state_dict": tensors, "epoch": 3} if lightning else tensors
    return write_zip(path, value, storages)
