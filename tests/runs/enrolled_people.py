"""Photographs of noise, a network of random numbers, and faces found by colour."""

import numpy as np
from PIL import Image

from sdd_jax import checkpoints, models
from sdd_jax.images.alignment import similarity
from sdd_jax.images.alignment.detectors import Faces

NOBODY, CROWD = 0, 255  # the red of images with no face, and with two


def find_by_colour(image):
    """Return a face that fills the image, none or two."""
    points = similarity.template()
    boxes = np.array([[0.0, 0, 112, 112], [8, 8, 64, 64]])
    number = {NOBODY: 0, CROWD: 2}.get(int(image[0, 0, 0]), 1)
    scores = np.array([0.99, 0.95])[:number]
    return Faces(boxes[:number], np.stack([points, points / 2 + 8])[:number], scores)


def photograph(path, seed, red=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 255, (112, 112, 3), np.uint8)
    if red is not None:
        pixels[..., 0] = red
    Image.fromarray(pixels).save(path)


def network(folder, seed=0, **description):
    """Write a converted checkpoint; return its path as text."""
    description = {
        "backbone": {"name": "ir_resnet", "arch": "ir_tiny"},
        "head": {"name": "pooled_embedding", "num_dimensions": 8},
        **description,
    }
    model = models.build(description, seed=seed)
    trees = {"model": models.variables(model)}
    checkpoints.save(folder, 0, trees, {"model": description}, score=0.0)
    return str(folder)
