"""How good an image of a face is, by what can be measured without knowing whose it is.

Images are aligned crops, uint8 RGB, [size, size, 3]. Points are [x, y] in pixels of the
photograph that a crop was made from: left eye, right eye, nose, left and right corner
of the mouth, as seen in the image.

Components after ISO/IEC 29794-5:2025, "Face image data": the distance of the eyes, the
sharpness, the pose. The numbers are this project's own and not that standard's scores.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from sdd_jax.types import LUMA

# Of each measure, which values are bad: the small, or both the small and the large.
BAD = {
    "eye_distance": "low",
    "sharpness": "low",
    "norm": "low",
    "yaw": "both",
    "pitch": "both",
}
SHARE = 0.01  # of the known images on either side; beyond these an image is unusual


def sharpness(image: UInt8[np.ndarray, "height width 3"]) -> float:
    """Return the standard deviation of the Laplacian of the image's grey, 0 or more.

    Blur and enlarging make it smaller. It depends on the crop's size.

    References:
        Pech-Pacheco et al., "Diatom Autofocusing in Brightfield Microscopy: a
        Comparative Study", ICPR 2000 (the variance of the Laplacian).
    """
    grey = image @ np.array(LUMA)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).std())


def pose(points: Float[np.ndarray, "5 2"]) -> dict[str, float]:
    """Return `eye_distance`, `roll`, `yaw` and `pitch` of a face.

    eye_distance: in pixels of the photograph.
    roll: of the line through the eyes, in degrees, clockwise. Alignment removes it.
    yaw: how far the nose is right of the eyes' middle, in eye distances; 0 is frontal.
    pitch: how far the nose is down the way from the eyes to the mouth, from 0 to 1.

    Yaw and pitch are no angles: five points and no camera give none.
    """
    right = points[1] - points[0]
    distance = float(np.hypot(*right))
    across = right / distance
    down = np.array([-across[1], across[0]])
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    nose = points[2] - eyes
    return {
        "eye_distance": distance,
        "roll": float(np.degrees(np.arctan2(right[1], right[0]))),
        "yaw": float(nose @ across) / distance,
        "pitch": float(nose @ down) / float((mouth - eyes) @ down),
    }


def ranges(
    known: Sequence[Mapping[str, float | None]],
) -> dict[str, tuple[float, float]]:
    """Return between which values 98 % of the known images lie, by measure.

    A measure that no known image has is left out.
    """
    found = {}
    for name in BAD:
        values = [one[name] for one in known if one.get(name) is not None]
        if values:
            low, high = np.quantile(np.array(values, np.float64), [SHARE, 1 - SHARE])
            found[name] = float(low), float(high)
    return found


def outside(
    measures: Mapping[str, float | None], usual: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Return the measures in which an image is unlike nearly all known ones.

    Better ones too, as of a sharper image: nothing was measured on such images.
    """
    return [
        name
        for name, value, low, high in _known(measures, usual)
        if not low <= value <= high
    ]


def unusual(
    measures: Mapping[str, float | None], usual: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Return the measures in which an image is worse than nearly all known ones."""
    return [
        name
        for name, value, low, high in _known(measures, usual)
        if value < low or (value > high and BAD[name] == "both")
    ]


def _known(
    measures: Mapping[str, float | None], usual: Mapping[str, tuple[float, float]]
) -> list[tuple[str, float, float, float]]:
    """Return name, value and range of what was measured."""
    return [
        (name, value, low, high)
        for name, (low, high) in usual.items()
        if (value := measures.get(name)) is not None
    ]
