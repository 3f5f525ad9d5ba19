"""Networks and images of random numbers, which cost what real ones do.

Speed depends on shapes and not on weights, but only numbers of the usual size can be
compared: maps that stay near 1 however deep the network, scores that differ from
image to image, and normalisation statistics that no two channels share.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from sdd_jax import models
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier
from sdd_jax.runs.pretrained import pooled_features, standardise
from sdd_jax.types import ImageSet

SIZE = 112  # pixels, what the AdaFace family takes


def images(
    num_images: int, *, size: int = SIZE, seed: int = 0
) -> UInt8[np.ndarray, "images size size 3"]:
    """Return coarse blocks under fine noise: noise alone all looks the same."""
    rng = np.random.default_rng(seed)
    blank = np.empty((num_images, size, size, 3), np.uint8)
    for image in blank:  # one at a time: memory is measured afterwards
        blocks = rng.uniform(0, 255, (4, 4, 3))
        width = -(-size // 4)
        blocks = blocks.repeat(width, axis=0).repeat(width, axis=1)[:size, :size]
        noisy = blocks + rng.normal(0, 12, blocks.shape)
        image[:] = np.clip(np.rint(noisy), 0, 255)
    return blank


def image_set(pixels: UInt8[np.ndarray, "images size size 3"]) -> ImageSet:
    """Return images in memory as a set of one identity."""
    labels = np.zeros(len(pixels), np.int32)
    files = tuple(map(str, range(len(pixels))))
    return ImageSet(("drawn",), files, labels, lambda index: pixels[index])


def classifier(
    arch: str, dtype: str, num_classes: int, *, seed: int = 0
) -> FaceClassifier:
    """Return a network under a pooled head, no number of which is a default.

    Args:
        arch: a name in `ir_resnet.ARCHITECTURES`, or "dlib", the embedded default's.
        dtype: what an IR-ResNet computes in.
        num_classes: the head's.
        seed: of all weights.
    """
    description = {
        "backbone": {"name": "dlib_resnet", "num_blocks": 10}
        if arch == "dlib"
        else {"name": "ir_resnet", "arch": arch, "dtype": dtype},
        "head": {"name": "pooled", "num_classes": num_classes},
    }
    model = models.build(description, seed=seed)
    rng = np.random.default_rng(seed)

    def draw(path: tuple[str | int, ...], variable: nnx.Variable) -> nnx.Variable:
        shape = variable.shape
        if path[-1] == "kernel":
            values = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        elif path[-1] == "var":
            values = rng.uniform(0.5, 2.0, shape)
        elif path[-1] in ("scale", "slope"):
            values = rng.uniform(0.2, 0.8, shape)
        else:
            values = rng.normal(0, 0.3, shape)
        return variable.replace(jnp.asarray(values, jnp.float32))

    backbone = nnx.map_state(draw, nnx.state(model.backbone))
    nnx.update(model.backbone, backbone)
    # Enough images to tell the features' units; few, because it is a forward pass.
    few = pipeline.cached(image_set(images(8, size=model.spec.size, seed=seed)))
    standardise(model, pooled_features(model, few, batch_size=8))
    # Logits of deviation 3: scores that are neither all alike nor all certain.
    shape = (model.backbone.num_features, num_classes)
    weights = jax.random.normal(jax.random.key(seed), shape)
    # What all images share speaks for no class, or every class map would be flat.
    shared = model.head.feature_mean[...] / model.head.feature_deviation[...]
    shared = shared / jnp.linalg.norm(shared)
    weights = weights - jnp.outer(shared, shared @ weights)
    model.head.kernel[...] = 3 * weights / np.sqrt(shape[0])
    return model
