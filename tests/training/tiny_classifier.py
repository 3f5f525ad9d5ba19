"""A classifier of 8x8 images: one convolution with batch norm, two cells square."""

import jax
import jax.numpy as jnp
from flax import nnx

from sdd_jax.models import FaceClassifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.layers import batch_norm, conv3x3
from sdd_jax.types import CellGrid, InputSpec

NUM_FEATURES, NUM_CLASSES = 4, 3
INPUT = InputSpec(size=8, colour_order="RGB", mean=(127.5,) * 3, scale=127.5)


class TinyBackbone(nnx.Module):
    cells = CellGrid(1.5, 4.0)
    num_features = NUM_FEATURES

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv = conv3x3(3, NUM_FEATURES, stride=4, rngs=rngs)
        self.norm = batch_norm(NUM_FEATURES, rngs=rngs)
        self.blocks = nnx.List([conv3x3(NUM_FEATURES, NUM_FEATURES, rngs=rngs)])

    def __call__(self, x):
        x = self.norm(self.conv(x))
        return x + nnx.tanh(self.blocks[0](x))


def tiny_classifier() -> FaceClassifier:
    """Return one whose head is not zero, so that every gradient is not."""
    head = PooledHead(NUM_FEATURES, NUM_CLASSES)
    shape = (NUM_FEATURES, NUM_CLASSES)
    head.kernel[...] = jax.random.normal(jax.random.key(1), shape)
    head.offset[...] = jnp.array([0.1, -0.2, 0.3])
    head.feature_mean[...] = jnp.array([0.5, -0.5, 0.0, 1.0])
    head.feature_deviation[...] = jnp.array([1.0, 2.0, 0.5, 1.5])
    return FaceClassifier(INPUT, TinyBackbone(rngs=nnx.Rngs(0)), head)
