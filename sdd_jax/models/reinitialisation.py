"""A network whose layers are spoilt, to see whether a map depends on them.

Every array of a spoilt layer keeps its values, in a random order: filters, biases and
PReLU's slopes, the scale, shift, running mean and running variance of a normalisation,
and the head's weights, offsets and statistics. Nothing that was learnt is left, but the
size of what the layer computes is, so that no map is spoilt by an overflow. The layers'
own initialisers would not do: a head starts at zero, and a pretrained network may have
gains in its filters. An array of equal values stays as it is.

References:
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency
    Maps", NeurIPS 2018, section 3: the tests by model parameter randomisation.
"""

import bisect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Key

from sdd_jax import checks, trees
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.inference.parts import FoldedNetwork

HEAD, STEM = "head", "stem"


def layers(model: FaceClassifier) -> tuple[str, ...]:
    """Return what can be spoilt, from the head to the input.

    The head, the network's stages by their names, and the stem, which is what comes
    before the first stage, where there is anything.

    Raises:
        InputError: the model is folded, or its head is divided among the devices.
    """
    arrays = trees.flat(_split(model)[1])
    found = {_layer_of(name, model) for name in arrays}
    stages = [stage.name for stage in reversed(model.stages)]
    return tuple(name for name in (HEAD, *stages, STEM) if name in found)


def reinitialised(
    model: FaceClassifier, names: Sequence[str], key: Key[Array, ""]
) -> FaceClassifier:
    """Return the model with some of its layers spoilt; the model itself stays.

    Every array of the model has a key of its own, which does not depend on what else is
    spoilt: what a layer becomes is the same alone and among others.

    Args:
        model: not folded: fold what comes out.
        names: some of `layers`.
        key: of all random orders.

    Raises:
        InputError: a name is none of `layers`, stands twice, or there is none; or as
            `layers`.
    """
    graphdef, state = _split(model)
    checks.require_names(names, dict.fromkeys(layers(model)), "layer")
    arrays = {
        name: _shuffled(array, jax.random.fold_in(key, place))
        if _layer_of(name, model) in names
        else array
        for place, (name, array) in enumerate(trees.flat(state).items())
    }
    changed = jax.tree.unflatten(jax.tree.structure(state), arrays.values())
    return nnx.merge(graphdef, nnx.State(changed))


def _split(model: FaceClassifier) -> tuple[Any, Any]:
    if isinstance(model.backbone, FoldedNetwork):
        raise InputError(
            "the model is folded, and its layers are no longer apart: spoil it first, "
            "then fold it"
        )
    if getattr(model.head, "is_divided", False):
        raise InputError(
            "the head's classes are divided among the devices, and cannot be mixed: "
            "load the model with divide_head=False"
        )
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def _shuffled(array: Array, key: Key[Array, ""]) -> Array:
    mixed = jax.random.permutation(key, jnp.ravel(array)).reshape(array.shape)
    return jax.device_put(mixed, array.sharding)


def _layer_of(name: str, model: FaceClassifier) -> str:
    """Return which layer an array belongs to, by its name.

    Stages are made of the units of the network's one list, up to each stage's end.
    """
    part, *inner = name.split("/")
    if part != "backbone":
        return HEAD
    numbers = [int(word) for word in inner[1:2] if word.isdigit()]
    if not numbers:
        return STEM
    return model.stages[bisect.bisect_right(model.backbone.ends, numbers[0])].name
