"""What layers add whatever they are given: biases, and those that normalisation hides.

With fixed statistics, batch normalisation is x -> scale x + constant. A network of
convolutions, rectifiers with or without a slope, and pooling is then homogeneous in its
input and its constants together: twice of both is twice of the output.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.inference.parts import FoldedConv, FoldedNetwork
from sdd_jax.models.inference.sface import FoldedDepthwise

See = Callable[[Array, Array], Array]


class _Seen:
    """A layer whose output passes through a function, with the layer's constant."""

    def __init__(self, layer: Any, constant: Array, see: See):
        self._layer, self._constant, self._see = layer, constant, see

    def __call__(self, x: Array) -> Array:
        return self._see(self._layer(x), self._constant)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def constant_of(layer: Any) -> Array | None:
    """Return what a layer adds, [channels] or [rows, columns, channels], or None."""
    if isinstance(layer, nnx.BatchNorm):
        constant = jnp.zeros_like(layer.mean[...])
        scale = jax.lax.rsqrt(layer.var[...] + layer.epsilon)
        if layer.scale is not None:
            scale = scale * layer.scale[...]
        if layer.bias is not None:
            constant = layer.bias[...]
        return constant - scale * layer.mean[...]
    if isinstance(layer, nnx.Conv | nnx.Linear | FoldedConv | FoldedDepthwise):
        return None if layer.bias is None else layer.bias[...]
    return None


def with_constants_seen(model: FaceClassifier, see: See) -> FaceClassifier:
    """Return a copy whose backbone's layers give `see(output, constant)`.

    The copy shares the arrays, and is to be used inside of the function that called for
    it. Batches go through it whole, not in blocks.

    Args:
        model: the classifier, folded or not, whose normalisation uses its statistics.
        see: (what a layer with a constant gives, the constant) -> what goes on.
    """
    backbone = nnx.merge(*nnx.split(model.backbone))
    if isinstance(backbone, FoldedNetwork):
        backbone.is_tiled = False
    for path, layer in list(nnx.iter_graph(backbone)):
        constant = constant_of(layer)
        if constant is None:
            continue
        *way, last = path
        parent = backbone
        for step in way:
            parent = (
                parent[step] if isinstance(step, int) else getattr(parent, str(step))
            )
        seen = _Seen(layer, constant, see)
        if isinstance(last, int):
            parent[last] = seen
        else:
            setattr(parent, str(last), seen)
    return FaceClassifier(model.spec, backbone, model.head)
