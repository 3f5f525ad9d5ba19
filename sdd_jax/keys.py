"""Random keys that belong to an image, not to its place in a batch.

Whatever is drawn for an image then depends neither on the batch size, nor on padding,
nor on the number of devices.
"""

import jax
from jax import Array
from jaxtyping import Int, Key


def for_indices(key: Key[Array, ""], indices: Int[Array, " batch"]) -> Key[Array, " b"]:
    """Return one key an image, made from the image's index in its set."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def per_image(key: Key[Array, "..."], num_images: int) -> Key[Array, " batch"]:
    """Return one key an image.

    Args:
        key: one key, which is split, or [batch] keys, which are returned as they are.
        num_images: the batch size.
    """
    if key.ndim == 0:
        return jax.random.split(key, num_images)
    return key
