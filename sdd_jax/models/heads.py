"""Heads that classify: feature maps -> logits, and the class maps that explain them.

Feature maps are float, [batch, height, width, features]; whatever their dtype, sums
and products here are float32.
"""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int


class FeatureStatistic(nnx.Variable):
    """A number measured once on the training pictures; never trained."""


class PooledHead(nnx.Module):
    """Global average pooling and a linear layer.

    The layer works on standardised features, (pooled - mean) / deviation, where Adam's
    steps fit: a pretrained network's features may be a hundred times smaller. For the
    outside it is one linear layer on the raw features, `class_weights` and `bias`.
    """

    def __init__(self, num_features: int, num_classes: int):
        """Start at zero: no class is preferred, and no random start needs a seed."""
        self.kernel = nnx.Param(jnp.zeros((num_features, num_classes)))
        self.offset = nnx.Param(jnp.zeros((num_classes,)))
        self.feature_mean = FeatureStatistic(jnp.zeros((num_features,)))
        self.feature_deviation = FeatureStatistic(jnp.ones((num_features,)))

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return self.offset.shape[0]

    @property
    def class_weights(self) -> Float[Array, "features classes"]:
        """Return the linear layer's weights on the raw, unstandardised features."""
        return self.kernel[...] / self.feature_deviation[...][:, None]

    @property
    def bias(self) -> Float[Array, " classes"]:
        """Return the linear layer's bias beside `class_weights`."""
        mean = jnp.dot(self.feature_mean[...], self.class_weights, precision="highest")
        return self.offset[...] - mean

    def pool(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch 1 1 features"]:
        """Return the average over positions, as feature maps of one cell.

        `logits` of the average are the logits of the maps.
        """
        return feature_maps.astype(jnp.float32).mean((1, 2), keepdims=True)

    def logits(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch classes"]:
        """Return one logit a class."""
        pooled = self.pool(feature_maps)[:, 0, 0]
        features = (pooled - self.feature_mean[...]) / self.feature_deviation[...]
        return (
            jnp.dot(features, self.kernel[...], precision="highest") + self.offset[...]
        )

    def class_maps(
        self,
        feature_maps: Float[Array, "batch height width features"],
        classes: Int[Array, "batch classes"],
        *,
        centre: bool = False,
    ) -> Float[Array, "batch classes height width"]:
        """Return each asked class's activation map: sum_k w_k^c f_k(y, x).

        The mean of a map over its positions plus the class's bias is its logit. Only
        the classes asked for are computed.

        Args:
            feature_maps: the maps f_k.
            classes: for each picture, the classes to map.
            centre: subtract the mean class weight first. What all classes share
                changes no prediction, and then changes no map either.

        References:
            Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for
            Discriminative Localization", CVPR 2016, equation 2.
        """
        kernel = self.kernel[...]
        weights = kernel.T[classes]
        if centre:
            weights = weights - kernel.mean(axis=1)
        weights = weights / self.feature_deviation[...]
        return jnp.einsum(
            "bhwf,bcf->bchw",
            feature_maps.astype(jnp.float32),
            weights,
            precision="highest",
        )
