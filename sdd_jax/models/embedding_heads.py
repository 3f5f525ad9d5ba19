"""Feature maps -> embeddings: the published networks' own last layers.

Feature maps are [batch, h, w, channels] of any float type; embeddings are float32,
[batch, num_dimensions]. FlatEmbedding's have length 1. PooledEmbedding's have not:
they are compared by Euclidean distance. Classification and class maps are in `heads`.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from sdd_jax.models.layers import batch_norm


class FlatEmbedding(nnx.Module):
    """AdaFace's output layer: every cell of the maps has weights of its own.

    The rows of the matrix `linear.kernel` are in height, width, channels order.

    References:
        Kim, Jain, Liu. AdaFace: Quality Adaptive Margin for Face Recognition. CVPR
        2022, "Norm and Image quality": the norm stands for the image's quality.
    """

    def __init__(
        self,
        num_features: int = 512,
        *,
        size: int = 7,
        num_dimensions: int = 512,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters.

        Args:
            num_features: channels of the feature maps.
            size: cells along the height and along the width of the feature maps.
        """
        self.norm_maps = batch_norm(num_features, rngs=rngs)
        self.dropout = nnx.Dropout(0.4)
        self.linear = nnx.Linear(size * size * num_features, num_dimensions, rngs=rngs)
        self.norm_embeddings = batch_norm(num_dimensions, affine=False, rngs=rngs)

    def embeddings_and_norms(
        self,
        feature_maps: Float[Array, "batch h w channels"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch num_dimensions"], Float[Array, " batch"]]:
        """Return embeddings of length 1, and the lengths they had.

        Args:
            key: draws what is dropped; without a key nothing is dropped.
        """
        x = self.norm_maps(feature_maps.astype(jnp.float32))
        x = self.dropout(x, deterministic=key is None, rngs=key)
        x = self.norm_embeddings(self.linear(x.reshape(len(x), -1)))
        norms = jnp.linalg.norm(x, axis=1)
        return x / norms[:, None], norms

    def embeddings(
        self,
        feature_maps: Float[Array, "batch h w channels"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch num_dimensions"]:
        """Return embeddings of length 1; `key` as for `embeddings_and_norms`."""
        return self.embeddings_and_norms(feature_maps, key=key)[0]


class PooledEmbedding(nnx.Module):
    """dlib's last layers: mean over the cells, then a matrix without bias."""

    def __init__(self, num_features: int, *, num_dimensions: int, rngs: nnx.Rngs):
        """Draw the matrix."""
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (num_features, num_dimensions)))

    def embeddings(
        self, feature_maps: Float[Array, "batch h w channels"]
    ) -> Float[Array, "batch num_dimensions"]:
        """Return embeddings as they are, of any length."""
        return feature_maps.astype(jnp.float32).mean((1, 2)) @ self.kernel[...]
