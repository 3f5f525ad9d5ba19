"""Feature maps -> embeddings: the published networks' own last layers.

Feature maps are [batch, h, w, channels] of any float type; embeddings are float32,
[batch, num_dimensions]. FlatEmbedding's have length 1. PooledEmbedding's have not:
they are compared by Euclidean distance, or by the cosine as here. Both are affine in
the maps, `cells_and_bias`: a cosine is a sum over cells, `similarity_maps`.
Classification is in `heads`, galleries of references are in `gallery`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from sdd_jax.models.layers import batch_norm


class FlatEmbedding(nnx.Module):
    """AdaFace's and SFace's output layer: every cell of the maps has its own weights.

    Normalised maps, flattened; a matrix and a bias; normalisation. In evaluation all of
    it is one linear layer, `weights_and_bias`, so that an embedding is a sum over cells
    and so is a similarity. The rows of the matrix `linear.kernel` are in height, width,
    channels order.

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
        epsilon: float = 1e-5,
        affine: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters; the defaults are AdaFace's.

        Args:
            num_features: channels of the feature maps.
            size: cells along the height and along the width of the feature maps.
            num_dimensions: of the embeddings.
            epsilon: of both normalisations.
            affine: whether the last normalisation has a scale and a shift of its own.
            rngs: draws the matrix.
        """
        self.norm_maps = batch_norm(num_features, epsilon=epsilon, rngs=rngs)
        self.dropout = nnx.Dropout(0.4)
        self.linear = nnx.Linear(size * size * num_features, num_dimensions, rngs=rngs)
        self.norm_embeddings = batch_norm(
            num_dimensions, affine=affine, epsilon=epsilon, rngs=rngs
        )

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

    def weights_and_bias(
        self, rows: int, columns: int
    ) -> tuple[
        Float[Array, "{rows} {columns} channels num_dimensions"],
        Float[Array, " num_dimensions"],
    ]:
        """Return the layer as one: cells . weights, summed, + bias = the embedding.

        The running statistics are folded in, and the embedding is the one before its
        length is made 1.

        Args:
            rows: of the feature maps.
            columns: likewise.
        """
        scale, shift = _scale_and_shift(self.norm_maps)
        scale_out, shift_out = _scale_and_shift(self.norm_embeddings)
        kernel = self.linear.kernel[...].reshape(rows, columns, len(scale), -1)
        bias = jnp.einsum("c,hwcd->d", shift, kernel, precision="highest")
        if self.linear.bias is not None:
            bias = bias + self.linear.bias[...]
        weights = kernel * scale[:, None] * scale_out
        return weights, bias * scale_out + shift_out

    def cells_and_bias(
        self, feature_maps: Float[Array, "batch h w channels"]
    ) -> tuple[
        Float[Array, "batch h w num_dimensions"], Float[Array, " num_dimensions"]
    ]:
        """Return what each cell adds to the embedding, and what none of them does.

        Their sum over the cells plus the bias is the embedding before its length is
        made 1, with the running statistics.
        """
        maps = feature_maps.astype(jnp.float32)
        weights, bias = self.weights_and_bias(*maps.shape[1:3])
        return jnp.einsum("bhwc,hwcd->bhwd", maps, weights, precision="highest"), bias

    def similarity_maps(
        self,
        feature_maps: Float[Array, "batch h w channels"],
        references: Float[Array, "batch num_dimensions"],
    ) -> tuple[Float[Array, "batch h w"], Float[Array, " batch"]]:
        """Return each image's map of one reference; see the function of that name."""
        maps, left_over = similarity_maps(self, feature_maps, references[:, None])
        return maps[:, 0], left_over[:, 0]


def _scale_and_shift(norm: nnx.BatchNorm) -> tuple[Array, Array]:
    """Return what the normalisation with its running statistics does to a channel."""
    scale = jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    if norm.scale is not None:
        scale = scale * norm.scale[...]
    shift = -norm.mean[...] * scale
    return scale, shift if norm.bias is None else shift + norm.bias[...]


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

    def cells_and_bias(
        self, feature_maps: Float[Array, "batch h w channels"]
    ) -> tuple[
        Float[Array, "batch h w num_dimensions"], Float[Array, " num_dimensions"]
    ]:
        """Return what each cell adds to the embedding, and a bias of zeros."""
        maps = feature_maps.astype(jnp.float32) / math.prod(feature_maps.shape[1:3])
        cells = jnp.einsum("bhwc,cd->bhwd", maps, self.kernel[...], precision="highest")
        return cells, jnp.zeros(cells.shape[-1])


def similarity_maps(
    head: FlatEmbedding | PooledEmbedding,
    feature_maps: Float[Array, "batch h w channels"],
    references: Float[Array, "batch classes num_dimensions"],
) -> tuple[Float[Array, "batch classes h w"], Float[Array, "batch classes"]]:
    """Return what each cell adds to a cosine similarity, and what is left over.

    A map's sum over its cells plus its left-over number is the cosine of the image's
    embedding and the reference: nothing is approximated. With fixed statistics the
    embedding is e = sum_hw z_hw + c, z_hw linear in the cell; the map is
    z_hw . r / (|e| |r|), and the number c . r / (|e| |r|).

    Args:
        head: what embeds.
        feature_maps: of the images.
        references: for each image, embeddings of any length, to compare with.

    References:
        Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for
        Discriminative Localization", CVPR 2016, equation 2: the same sum, for the
        logit of a class.
    """
    product = functools.partial(jnp.einsum, precision="highest")
    cells, bias = head.cells_and_bias(feature_maps)
    norms = jnp.linalg.norm(cells.sum((1, 2)) + bias, axis=1)
    lengths = jnp.linalg.norm(references, axis=2) * norms[:, None]
    directions = references / lengths[:, :, None]
    return product("bhwd,bcd->bchw", cells, directions), product(
        "bcd,d->bc", directions, bias
    )
