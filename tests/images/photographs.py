"""Photographs that installed packages ship, and where a person sees the five points.

Points are [x, y] with the centre of the first pixel at [0, 0], read by eye from 6 and
12 times enlarged crops with a grid over them.
"""

import matplotlib.cbook
import numpy as np
from PIL import Image
from skimage import data

# Eileen Collins (NASA, public domain), 512 x 512, the eyes 44 pixels apart.
ASTRONAUT = [[203, 100.5], [246.5, 103], [223.5, 127], [202.5, 139], [245, 141]]
# Grace Hopper (US Navy, public domain), 600 x 512, in glasses, the eyes 82 apart.
ADMIRAL = [[221.5, 188.5], [304, 187], [266.5, 236.5], [226.5, 280.5], [308.5, 278.5]]


def astronaut() -> np.ndarray:
    return data.astronaut()


def admiral() -> np.ndarray:
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def both() -> np.ndarray:
    """The admiral on the left, the astronaut on the right: there is no real group."""
    return np.concatenate([admiral()[:512], astronaut()], 1)


def nobody() -> np.ndarray:
    """A rocket on its launch pad."""
    return data.rocket()
