"""Turning, scaling and moving a face onto the five points that networks expect.

Points are [x, y] in pixels, x to the right and y down, and the centre of the first
pixel is [0, 0]. Images are uint8 RGB, [height, width, 3]. A matrix [2, 3] takes a
point of the photograph to a point of the crop.

The crop is sampled with plain bilinear interpolation, as AdaFace's and ArcFace's
training images were: a large face is NOT smoothed before it shrinks, so what is finer
than two pixels of the photograph to one of the crop turns into jaggedness that these
networks have seen. What lies outside the photograph is black.
"""

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from sdd_jax.errors import InputError

SIZE = 112
# Left eye, right eye, nose, left and right mouth corner, as seen in the image.
_TEMPLATE = (
    (38.29459953, 51.69630051),
    (73.53179932, 51.50139999),
    (56.02519989, 71.73660278),
    (41.54930115, 92.3655014),
    (70.72990036, 92.20410156),
)


def template(size: int = SIZE) -> Float[np.ndarray, "5 2"]:
    """Return where the five points belong in a crop of `size` x `size` pixels.

    Every size shows the same part of the face.
    """
    return (np.array(_TEMPLATE) + 0.5) * (size / SIZE) - 0.5


def similarity_transform(
    points: Shaped[np.ndarray, "n 2"], target: Shaped[np.ndarray, "n 2"]
) -> Float[np.ndarray, "2 3"]:
    """Return the turn, scale and shift that bring points nearest to their targets.

    Nearest is the least sum of squared distances; it never mirrors. In the plane a turn
    and a scale are one complex factor, so the estimate is a regression on one variable.

    Raises:
        InputError: The points lie on one place, or no turn brings them nearer.

    References:
        S. Umeyama, "Least-squares estimation of transformation parameters between two
        point patterns", IEEE TPAMI 13(4), 1991, equations 40 to 42.
    """
    here, there = (values @ np.array([1, 1j]) for values in (points, target))
    here_mean, there_mean = here.mean(), there.mean()
    here, there = here - here_mean, there - there_mean
    spread = np.linalg.norm(here)
    # Far below a pixel's rounding nothing is left to turn by.
    limit = 1e-6 * (1 + np.abs(points).max())
    factor = np.vdot(here, there) / spread**2 if spread > limit else np.nan
    if not np.abs(factor) * spread > 1e-6 * np.linalg.norm(there):
        raise InputError(
            f"the points {np.round(points, 1).tolist()} fix no turn and scale; "
            "expected points that lie apart, in the order of their targets"
        )
    shift = there_mean - factor * here_mean
    return np.array(
        [
            [factor.real, -factor.imag, shift.real],
            [factor.imag, factor.real, shift.imag],
        ]
    )


def residual(
    points: Shaped[np.ndarray, "n 2"],
    target: Shaped[np.ndarray, "n 2"],
    matrix: Shaped[np.ndarray, "2 3"],
) -> float:
    """Return the root mean square distance of moved points to their targets."""
    apart = points @ matrix[:, :2].T + matrix[:, 2] - target
    return float(np.sqrt((apart**2).sum(1).mean()))


def warp(
    image: UInt8[np.ndarray, "height width 3"],
    matrix: Shaped[np.ndarray, "2 3"],
    size: int,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Return the crop of `size` x `size` pixels that a matrix takes an image to.

    Raises:
        InputError: The matrix flattens the image, so no pixel can be traced back.
    """
    if not abs(np.linalg.det(matrix[:, :2])) > 1e-12:
        raise InputError(
            f"the matrix {np.round(matrix, 6).tolist()} flattens the image; expected "
            "one that can be undone"
        )
    back = np.linalg.inv(matrix[:, :2])
    y, x = np.indices((size, size))
    points = (np.stack([x, y], -1) - matrix[:, 2]) @ back.T
    low = np.floor(points).astype(np.int64)
    part = points - low
    total = np.zeros((size, size, 3))
    for right in (0, 1):
        for down in (0, 1):
            weight = np.abs(1 - right - part[..., 0]) * np.abs(1 - down - part[..., 1])
            total += weight[..., None] * _pixels(image, low + (right, down))
    return np.rint(total).astype(np.uint8)


def _pixels(
    image: UInt8[np.ndarray, "height width 3"], places: Shaped[np.ndarray, "m n 2"]
) -> UInt8[np.ndarray, "m n 3"]:
    """Return the pixels at places, black where there is none."""
    last = np.array(image.shape[1::-1]) - 1
    outside = ((places < 0) | (places > last)).any(-1)
    x, y = np.moveaxis(np.clip(places, 0, last), -1, 0)
    return np.where(np.expand_dims(outside, -1), np.uint8(0), image[y, x])
