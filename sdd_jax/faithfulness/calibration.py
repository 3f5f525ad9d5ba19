"""Does a network know how often it is right?"""

import numpy as np
from jaxtyping import Bool, Float

from sdd_jax.errors import InputError


def calibration_error(
    confidence: Float[np.ndarray, " images"],
    is_right: Bool[np.ndarray, " images"],
    *,
    num_bins: int = 15,
) -> float:
    """Return the expected calibration error, in per cent; 0 is best.

    Bins are of equal width; the last one takes a confidence of 1. The error is the
    mean, over images, of how far a bin's accuracy is from its mean confidence.

    Args:
        confidence: softmax probability of the predicted class.
        is_right: whether that class is the true one.
        num_bins: how many bins.

    Raises:
        InputError: there are no images.

    References:
        Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks",
        ICML 2017, equation 3.
    """
    if not len(confidence):
        raise InputError("no images were given, expected at least one")
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, np.asarray(is_right, np.float64) - confidence)
    return float(100 * np.abs(gaps).sum() / len(confidence))
