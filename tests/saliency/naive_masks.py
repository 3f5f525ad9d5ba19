"""What masked images score, one mask at a time, in NumPy but for the network."""

import jax
import jax.numpy as jnp
import numpy as np


def faded(images, mask, colour=(0, 0, 0)):
    """Return the images, [batch, height, width, 3], where the mask is 1, else a colour.

    Everything is float32, as in the program: then both round the same way.
    """
    images = np.asarray(images)
    mask = np.asarray(mask, np.float32)[..., None]
    colour = np.asarray(colour, np.float32)
    return np.round(colour + mask * (images - colour)).astype(np.uint8)


def scores(model, images, targets, name="confidence"):
    """Return what a head says of the targets, float64 [batch]."""
    feature_maps = model.feature_maps(jnp.asarray(images))
    logits = np.asarray(model.logits(feature_maps), np.float64)
    value = logits[np.arange(len(logits)), np.asarray(targets)]
    log_confidence = value - np.log(np.exp(logits).sum(1))
    return {
        "value": value,
        "confidence": np.exp(log_confidence),
        "log_confidence": log_confidence,
    }[name]


def temporary_bytes(program, *arguments):
    """Return the memory that a compiled program takes while it runs."""
    analysis = jax.jit(program).lower(*arguments).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes
