"""How well a map finds what is known to matter: a mask M of each image.

One share an image, [batch], from 0 to 1, higher is better, under `jax.jit` or not. Each
means something only beside `random_value`, what a random map gets.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from sdd_jax.faithfulness.map_measures import positive_part
from sdd_jax.faithfulness.ranks import largest


def random_value(mask: Bool[Array, "batch height width"]) -> Float[Array, " batch"]:
    """Return the share of an image's pixels that are in M.

    It is what each of the three measures is on average for a map whose pixels come in
    any order with the same probability.
    """
    return mask.mean((1, 2))


def pointing_game(
    saliency: Float[Array, "batch height width"],
    mask: Bool[Array, "batch height width"],
    keys: Key[Array, " batch"],
) -> Float[Array, " batch"]:
    """Return 1 where the most salient pixel is in M, 0 elsewhere.

    Of equally salient ones the image's own key takes one. There is no tolerance.

    Raises:
        InputError: a value is NaN.

    References:
        Zhang, Lin, Brandt, Shen and Sclaroff, "Top-down Neural Attention by Excitation
        Backprop", ECCV 2016, the pointing game; there with a tolerance in pixels.
    """
    point = largest(saliency, keys, jnp.ones(len(saliency), jnp.int32))
    return (point & mask).any((1, 2)).astype(jnp.float32)


def energy_inside(
    saliency: Float[Array, "batch height width"],
    mask: Bool[Array, "batch height width"],
) -> Float[Array, " batch"]:
    """Return the share of the positive saliency that lies in M.

    A map without positive values, or with one that is not finite, counts as an even
    one.

    References:
        Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, "Score-CAM: Score-Weighted
        Visual Explanations for Convolutional Neural Networks", CVPR Workshops 2020, the
        energy-based pointing game.
    """
    positive = positive_part(saliency)
    return (positive * mask).sum((1, 2)) / positive.sum((1, 2))


def relevance_rank(
    saliency: Float[Array, "batch height width"],
    mask: Bool[Array, "batch height width"],
    keys: Key[Array, " batch"],
) -> Float[Array, " batch"]:
    """Return the share of the |M| most salient pixels that lie in M; 0 of an empty M.

    Exactly |M| pixels are chosen, equally salient ones by the image's own key.

    Raises:
        InputError: a value is NaN.

    References:
        Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth
        evaluation of neural network explanations", Information Fusion 81, 2022,
        relevance rank accuracy.
    """
    number = mask.sum((1, 2))
    chosen = largest(saliency, keys, number)
    return (chosen & mask).sum((1, 2)) / jnp.maximum(number, 1)
