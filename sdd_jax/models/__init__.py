"""2. Images -> feature maps -> logits, class maps or embeddings."""

from sdd_jax.models.classifier import (
    FaceClassifier,
    build,
    input_spec,
    load,
    placed,
    variables,
    with_variables,
)
from sdd_jax.models.gallery import references_of, with_gallery

__all__ = [
    "FaceClassifier",
    "build",
    "input_spec",
    "load",
    "placed",
    "references_of",
    "variables",
    "with_gallery",
    "with_variables",
]
