"""A model as what `jax.jit` can take: its structure apart from its arrays."""

from typing import Any

from flax import nnx

from sdd_jax.models.classifier import FaceClassifier


def split_model(model: FaceClassifier) -> tuple[nnx.GraphDef, Any]:
    """Return a model as its structure and its arrays, to pass through `jax.jit`."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def join_model(graphdef: nnx.GraphDef, arrays: Any) -> FaceClassifier:
    """Undo `split_model`."""
    return nnx.merge(graphdef, nnx.State(arrays))
