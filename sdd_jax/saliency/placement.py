"""What methods share that look at several stages: scaling, smoothing, products.

Maps are float32, [batch, height, width], already at the images' resolution.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import StageGradients
from sdd_jax.types import Stage

BLUR = checks.real(0, 1)  # of a Gaussian, in image widths


def unit(maps: Float[Array, "batch height width"]) -> Float[Array, "batch h w"]:
    """Return u(m): what is above 0, divided by the image's largest.

    A map that is nowhere above 0 gives 0 everywhere.
    """
    above = jnp.maximum(maps, 0)
    largest = above.max((1, 2), keepdims=True)
    return above / jnp.where(largest > 0, largest, 1.0)


def rescaled(maps: Float[Array, "batch height width"]) -> Float[Array, "batch h w"]:
    """Return N(m): the image's smallest value becomes 0, its largest 1.

    A flat map gives 0 everywhere.
    """
    above = maps - maps.min((1, 2), keepdims=True)
    largest = above.max((1, 2), keepdims=True)
    return above / jnp.where(largest > 0, largest, 1.0)


def blurred(
    maps: Float[Array, "batch height width"], sigma: float
) -> Float[Array, "batch height width"]:
    """Return the maps, smoothed by a Gaussian.

    What lies beyond the border does not count: there, the weights of what is inside
    make up a whole.

    Args:
        maps: at the images' resolution.
        sigma: its standard deviation in image widths; 0 leaves the maps as they are.

    Raises:
        InputError: sigma is below 0 or above 1.
    """
    checks.require(sigma, BLUR, "blur")
    if sigma == 0:
        return maps
    height, width = maps.shape[1:]
    rows, columns = (
        _gaussian_weights(number, sigma * width) for number in (height, width)
    )
    return jnp.einsum("hr,brc,wc->bhw", rows, maps, columns, precision="highest")


def _gaussian_weights(number: int, sigma: float) -> Float32[np.ndarray, "pixels same"]:
    distance = np.subtract.outer(np.arange(number), np.arange(number))
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def deepest(model: FaceClassifier, num_stages: int) -> tuple[Stage, ...]:
    """Return the last stages, shallow to deep; all where there are fewer.

    Raises:
        InputError: `num_stages` is below 1.
    """
    checks.require(num_stages, checks.whole(1), "num_stages")
    return model.stages[-num_stages:]


def energy(
    stages: Sequence[Stage],
    activations: Mapping[str, Float[Array, "batch _ _ _"]],
    size: tuple[int, ...],
) -> Float[Array, "batch height width"]:
    """Return E: the product of u(sum_c A_s^2) over the stages but the last.

    It is 1 where there is no other stage.

    Args:
        stages: shallow to deep.
        activations: theirs, by name.
        size: the image's height and width.
    """
    images = len(activations[stages[-1].name])
    product = jnp.ones((images, *size), jnp.float32)
    for stage in stages[:-1]:
        squares = (activations[stage.name].astype(jnp.float32) ** 2).sum(3)
        product = product * unit(upsample(squares, size, stage.cells))
    return product


def supporting(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return sum_k A_k max(g_k, 0) on a stage's cells."""
    activations, gradients = (
        maps.astype(jnp.float32) for maps in (activations, gradients)
    )
    return (activations * jnp.maximum(gradients, 0)).sum(3)


def layer_product(
    stages: Sequence[Stage], found: StageGradients, size: tuple[int, ...]
) -> Float[Array, "batch height width"]:
    """Return T: the product of u(sum_c A_s max(g_s, 0)) over the stages.

    Args:
        stages: of which `found` has activations and gradients.
        found: from `stage_gradients`.
        size: the image's height and width.
    """
    product = jnp.ones((len(found.value), *size), jnp.float32)
    for stage in stages:
        maps = supporting(found.activations[stage.name], found.gradients[stage.name])
        product = product * unit(upsample(maps, size, stage.cells))
    return product


def finely_placed(
    model: FaceClassifier,
    clean: CleanPass,
    class_maps: Float[Array, "batch rows columns"],
    stages: Sequence[Stage],
    found: StageGradients,
    blur: float,
) -> Float[Array, "batch height width"]:
    """Return sqrt(u(T) u(class map) E), blurred; see `fine_cam.py`.

    Args:
        model: the classifier.
        clean: its clean pass.
        class_maps: on the last stage's cells.
        stages: of which `found` has activations and gradients, shallow to deep.
        found: from `stage_gradients`.
        blur: of `blurred`.
    """
    size = clean.images.shape[1:3]
    product = (
        unit(layer_product(stages, found, size))
        * unit(upsample(class_maps, size, model.cells))
        * energy(stages, found.activations, size)
    )
    return blurred(jnp.sqrt(product), blur)
