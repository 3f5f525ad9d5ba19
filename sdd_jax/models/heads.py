"""Heads that classify: feature maps -> logits, and the class maps that explain them.

Feature maps are float, [batch, height, width, features]; whatever their dtype, sums
and products here are float32.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from sdd_jax import checks, sharding
from sdd_jax.models.ranking import BLOCK, LOWEST, merge, rank
from sdd_jax.types import Ranking, Scores


class FeatureStatistic(nnx.Variable):
    """A number measured once on the training images; never trained."""


class PooledHead(nnx.Module):
    """Global average pooling and a linear layer.

    The layer works on standardised features, (pooled - mean) / deviation, where Adam's
    steps fit: a pretrained network's features may be a hundred times smaller. For the
    outside it is one linear layer on the raw features, `class_weights` and `bias`.

    `divided` lays the layer out over all devices, a part of the classes on each.
    """

    def __init__(self, num_features: int, num_classes: int):
        """Start at zero: no class is preferred, and no random start needs a seed."""
        checks.require(num_classes, checks.whole(1), "num_classes")
        self.num_classes = num_classes
        self.is_divided = False
        self.kernel = nnx.Param(jnp.zeros((num_features, num_classes)))
        self.offset = nnx.Param(jnp.zeros((num_classes,)))
        self.feature_mean = FeatureStatistic(jnp.zeros((num_features,)))
        self.feature_deviation = FeatureStatistic(jnp.ones((num_features,)))

    def divided(self) -> "PooledHead":
        """Return the head with its classes divided among the mesh's devices.

        What makes up the last device's part are classes that nothing can be: their
        logit is the lowest there is.
        """
        head = nnx.merge(*nnx.split(self))  # shares the arrays
        head.is_divided = True
        head.kernel = nnx.Param(sharding.divide(self.kernel[...], fill=0.0))
        head.offset = nnx.Param(sharding.divide(self.offset[...], fill=LOWEST))
        # New variables: the old ones are this head's own, which stays as it is.
        for name in ("feature_mean", "feature_deviation"):
            whole = sharding.replicate(getattr(self, name)[...])
            setattr(head, name, FeatureStatistic(whole))
        return head

    @property
    def class_weights(self) -> Float[Array, "features classes"]:
        """Return the linear layer's weights on the raw, unstandardised features."""
        kernel = self.kernel[:, : self.num_classes]
        return kernel / self.feature_deviation[...][:, None]

    @property
    def bias(self) -> Float[Array, " classes"]:
        """Return the linear layer's bias beside `class_weights`."""
        mean = jnp.dot(self.feature_mean[...], self.class_weights, precision="highest")
        return self.offset[: self.num_classes] - mean

    def pool(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch 1 1 features"]:
        """Return the average over positions, as feature maps of one cell.

        `logits` of the average are the logits of the maps.
        """
        dtype = jnp.promote_types(feature_maps.dtype, jnp.float32)
        return feature_maps.astype(dtype).mean((1, 2), keepdims=True)

    def logits(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch classes"]:
        """Return one logit a class; `ranking` is for so many that they do not fit."""
        features = self.standardised(feature_maps)
        logits = jnp.dot(features, self.kernel[...], precision="highest")
        return (logits + self.offset[...])[:, : self.num_classes]

    def standardised(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch features"]:
        """Return the average features in the units that the kernel works in."""
        pooled = self.pool(feature_maps)[:, 0, 0]
        return (pooled - self.feature_mean[...]) / self.feature_deviation[...]

    def ranking(
        self,
        feature_maps: Float[Array, "batch height width features"],
        targets: Int[Array, " batch"] | None = None,
        *,
        num_top: int = 1,
        block: int = BLOCK,
    ) -> Ranking:
        """Return the likeliest classes and what makes a probability of a logit.

        Never holds more than one block's logits, however many classes there are.

        Args:
            feature_maps: as for `logits`.
            targets: for each image, a class whose logit is asked for as well. Under
                `jax.jit`, where nothing can be refused, that of no class is NaN.
            num_top: how many of the likeliest classes; all where there are fewer.
            block: the number of classes whose logits exist at a time.

        Raises:
            InputError: a target is no class, or a count is below 1.
        """
        checks.require(num_top, checks.whole(1), "num_top")
        checks.require(block, checks.whole(1), "block")
        num_top = min(num_top, self.num_classes)
        if targets is not None:
            shape = (len(feature_maps),)
            targets = checks.classes(targets, self.num_classes, "targets", shape)
        ranking = self._ranked(feature_maps, targets, num_top, block)
        if targets is None:
            return ranking
        is_class = checks.are_classes(targets, self.num_classes)
        target_logits = jnp.where(is_class, ranking.target_logits, jnp.nan)
        return dataclasses.replace(ranking, target_logits=target_logits)

    def scores(
        self,
        feature_maps: Float[Array, "batch height width features"],
        targets: Int[Array, " batch"],
    ) -> Scores:
        """Return the targets' logits, softmax probabilities, and the predicted classes.

        Raises:
            InputError: a target is no class; see `ranking`.
        """
        return self.ranking(feature_maps, targets).scores

    def _ranked(
        self,
        feature_maps: Float[Array, "batch height width features"],
        targets: Int[Array, " batch"] | None,
        num_top: int,
        block: int,
    ) -> Ranking:
        rank_classes = functools.partial(rank, num_top=num_top, block=block)
        features = self.standardised(feature_maps)
        if not self.is_divided:
            return rank_classes(features, self.kernel[...], self.offset[...], targets)

        def rank_part(first: Array, whole: Any, kernel: Array, offset: Array) -> Any:
            features, targets = whole
            targets = None if targets is None else targets - first
            ranking = rank_classes(features, kernel, offset, targets)
            return dataclasses.replace(ranking, classes=first + ranking.classes)

        parts = sharding.map_parts(
            rank_part, self.kernel[...], self.offset[...], whole=(features, targets)
        )
        return merge(parts, num_top=num_top)

    def _columns(
        self, classes: Int[Array, "batch classes"]
    ) -> Float[Array, "features batch classes"]:
        """Return the kernel's columns of the classes."""
        if not self.is_divided:
            return jnp.take(self.kernel[...], classes, axis=1)

        def own(first: Array, classes: Array, kernel: Array) -> Array:
            """Return zeros for the classes that are on another device."""
            places = jnp.clip(classes - first, 0, kernel.shape[1] - 1)
            is_own = places == classes - first
            return jnp.where(is_own, jnp.take(kernel, places, axis=1), 0.0)

        return sharding.map_parts(own, self.kernel[...], whole=classes).sum(0)

    def _mean_column(self) -> Float[Array, " features"]:
        """Return the kernel's mean over the classes."""
        if not self.is_divided:
            return self.kernel[...].mean(axis=1)

        def own(first: Array, nothing: None, kernel: Array) -> Array:
            return kernel.sum(axis=1)

        sums = sharding.map_parts(own, self.kernel[...], whole=None)
        return sums.sum(0) / self.num_classes

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
            classes: for each image, the classes to map.
            centre: subtract the mean class weight first. What all classes share
                changes no prediction, and then changes no map either.

        Raises:
            InputError: a class is none. Under `jax.jit`, where nothing can be refused,
                its map is NaN.

        References:
            Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for
            Discriminative Localization", CVPR 2016, equation 2.
        """
        shape = (len(feature_maps), None)
        classes = checks.classes(classes, self.num_classes, "classes", shape)
        is_class = checks.are_classes(classes, self.num_classes)
        columns = jnp.where(is_class, self._columns(classes), jnp.nan)
        weights = jnp.moveaxis(columns, 0, 2)
        if centre:
            weights = weights - self._mean_column()
        weights = weights / self.feature_deviation[...]
        dtype = jnp.promote_types(feature_maps.dtype, jnp.float32)
        return jnp.einsum(
            "bhwf,bcf->bchw",
            feature_maps.astype(dtype),
            weights,
            precision="highest",
        )
