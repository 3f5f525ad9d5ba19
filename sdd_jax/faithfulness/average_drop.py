"""What becomes of the confidence where only what a map shows is left.

p is the softmax probability of the target on the intact image, p' that on the image
times the map. All are per cent, one value an image: their means are the measures.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from sdd_jax.faithfulness.map_measures import scaled
from sdd_jax.faithfulness.metrics import Values


def explained_image(
    images: UInt8[Array, "batch height width 3"],
    saliency: Float[Array, "batch height width"],
) -> UInt8[Array, "batch height width 3"]:
    """Return images times their maps, scaled to [0, 1], to the nearest whole number.

    So the least salient pixel is black. A map that is flat or not finite shows nothing:
    its image is black (see `map_measures.is_flat`).
    """
    shown = images * scaled(saliency.astype(jnp.float32))[..., None]
    return jnp.round(shown).astype(jnp.uint8)


def average_drop(
    confidence: Float[np.ndarray, " images"],
    explained: Float[np.ndarray, "*methods images"],
) -> Values:
    """Return 100 max(0, p - p') / p; lower is better.

    Args:
        confidence: p, above 0.
        explained: p'.

    References:
        Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
        Gradient-Based Visual Explanations for Deep Convolutional Networks", WACV 2018,
        Average Drop %.
    """
    p, left = _float64(confidence, explained)
    return 100 * np.maximum(p - left, 0) / p


def increase(
    confidence: Float[np.ndarray, " images"],
    explained: Float[np.ndarray, "*methods images"],
) -> Values:
    """Return 100 where p' > p, 0 elsewhere; higher is better.

    References:
        As `average_drop`, % Increase in Confidence.
    """
    p, left = _float64(confidence, explained)
    return 100.0 * (left > p)


def average_gain(
    confidence: Float[np.ndarray, " images"],
    explained: Float[np.ndarray, "*methods images"],
) -> Values:
    """Return 100 max(0, p' - p) / (1 - p), 0 where p is 1; higher is better.

    References:
        Zhang, Torres, Sicre, Avrithis and Ayache, "Opti-CAM: Optimizing saliency maps
        for interpretability", arXiv:2301.07002, 2023, Average Gain.
    """
    p, left = _float64(confidence, explained)
    return 100 * np.maximum(left - p, 0) / np.where(p < 1, 1 - p, 1)


def _float64(*values: Float[np.ndarray, "..."]) -> list[np.ndarray]:
    return [np.asarray(each, np.float64) for each in values]
