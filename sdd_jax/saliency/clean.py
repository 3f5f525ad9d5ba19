"""The clean pass: what every method starts from, computed once."""

import dataclasses
from typing import Any

import jax
from jax import Array
from jaxtyping import Int, UInt8

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.types import Scores

NUM_TOP = 5  # classes ranked: SDD's target and its four rivals


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CleanPass:
    """What the network says of intact images, and whom they are explained for."""

    images: Any  # uint8 RGB [batch, height, width, 3]
    feature_maps: Any  # float [batch, rows, columns, features]
    ranking: Any  # Ranking, of the likeliest classes
    targets: Any  # int32 [batch], the class each image is explained for

    @property
    def scores(self) -> Scores:
        """Return the targets' scores."""
        return self.ranking.scores


def clean_pass(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"] | None = None,
    *,
    num_top: int = NUM_TOP,
) -> CleanPass:
    """Return the clean pass of images, for all methods.

    Args:
        model: the classifier.
        images: RGB.
        targets: the class each image is explained for; the predicted one where None.
        num_top: how many of the likeliest classes are ranked; all where there are
            fewer.

    Raises:
        InputError: there is not one target for each image, or one is no class of the
            model. Under `jax.jit`, where nothing can be refused, its class map is NaN.
    """
    if targets is not None:
        shape = (len(images),)
        targets = checks.classes(targets, model.num_classes, "targets", shape)
    feature_maps = model.feature_maps(images)
    ranking = model.ranking(feature_maps, targets, num_top=num_top)
    if targets is None:
        targets = ranking.classes[:, 0]
    return CleanPass(images, feature_maps, ranking, targets)
