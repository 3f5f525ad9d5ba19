"""2. Images -> feature maps -> logits, class maps or embeddings."""

from sdd_jax.models.classifier import (
    FaceClassifier,
    build,
    input_spec,
    load,
    placed,
    variables,
)

__all__ = ["FaceClassifier", "build", "input_spec", "load", "placed", "variables"]
