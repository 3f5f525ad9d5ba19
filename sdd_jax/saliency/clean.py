"""The clean pass: what every method starts from, computed once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
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
    # By stage, [batch, rows, columns, channels]; None where stages were not asked for.
    activations: Any = None
    # The cotangent of the feature maps -> of the stages' activations, by name.
    pullback: Any = None

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
    stages: bool = False,
) -> CleanPass:
    """Return the clean pass of images, for all methods.

    Args:
        model: the classifier.
        images: RGB.
        targets: the class each image is explained for; the predicted one where None.
        num_top: how many of the likeliest classes are ranked; all where there are
            fewer.
        stages: keep all stages' activations and what differentiates by them, for
            methods that need these (`methods.USES_STAGES`): they then cost a backward
            pass, and no second forward pass.

    Raises:
        InputError: there is not one target for each image, or one is no class of the
            model. Under `jax.jit`, where nothing can be refused, its class map is NaN.
    """
    if targets is not None:
        shape = (len(images),)
        targets = checks.classes(targets, model.num_classes, "targets", shape)
    found = staged(model, images) if stages else (model.feature_maps(images),)
    feature_maps, *of_stages = found
    ranking = model.ranking(feature_maps, targets, num_top=num_top)
    if targets is None:
        targets = ranking.classes[:, 0]
    return CleanPass(images, feature_maps, ranking, targets, *of_stages)


def with_stages(model: FaceClassifier, clean: CleanPass) -> CleanPass:
    """Return a clean pass with its stages, which takes another forward pass."""
    feature_maps, activations, pullback = staged(model, clean.images)
    return dataclasses.replace(
        clean,
        feature_maps=feature_maps,
        activations=activations,
        pullback=pullback,
    )


def staged(
    model: FaceClassifier, images: UInt8[Array, "batch height width 3"]
) -> tuple[Array, dict[str, Array], Any]:
    """Return the feature maps, all stages' activations, and the pullback to these.

    The pullback takes the cotangent of the feature maps, and gives a tuple of one dict:
    the cotangents of the activations, by name.
    """
    names = [stage.name for stage in model.stages]
    fitting_any = dict.fromkeys(names, jnp.zeros((len(images), 1, 1, 1)))
    _, shapes = jax.eval_shape(model.with_taps, images, fitting_any)
    taps = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def forward(taps: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        return model.with_taps(images, taps)

    feature_maps, pullback, activations = jax.vjp(forward, taps, has_aux=True)
    return feature_maps, activations, pullback
