"""3. Feature maps -> saliency.

Every method is `method(model, images, targets, key) -> saliency`:

    images    uint8 RGB, [batch, height, width, 3]
    targets   int, [batch]: the class each picture is explained for; `explained` refuses
              what is no class, and under `jax.jit` a class map of it is NaN
    key       one random key, or [batch] of them
    saliency  float32, [batch, height, width]; larger = more important to the target

Hyper-parameters are keyword-only; bind them once with `functools.partial`. A method
never jits, never moves data, never normalises. A new method is one file, one line
here, one row in `tests/saliency/test_methods.py`.
"""

from sdd_jax.saliency.cam import cam
from sdd_jax.saliency.random_maps import centre, random_map, random_pixels
from sdd_jax.saliency.sdd import sdd

METHODS = {
    "sdd": sdd,
    "cam": cam,
    "random_map": random_map,
    "random_pixels": random_pixels,
    "centre": centre,
}
