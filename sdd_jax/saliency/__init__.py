"""3. Feature maps -> saliency.

Every method is `method(model, clean, key) -> Explanation(saliency, details)`:

    clean     from `clean_pass`: uint8 RGB images, [batch, height, width, 3], their
              feature maps, the likeliest classes, and the classes to explain
    key       one random key, or [batch] of them
    saliency  float32, [batch, height, width]; larger = more important to the target
    details   {name: [batch, ...]}, what else the method found on the way

Hyper-parameters are keyword-only; bind them once with `bind_methods`. A method never
jits, never moves data, never normalises. A new method is one file, one line in
`methods.py`, one row in `tests/saliency/test_methods.py`.
"""

from sdd_jax.saliency.clean import CleanPass, clean_pass
from sdd_jax.saliency.gradients import stage_gradients
from sdd_jax.saliency.methods import (
    CHEAP_METHODS,
    DEFAULT_METHODS,
    METHODS,
    bind_methods,
)

__all__ = [
    "CHEAP_METHODS",
    "DEFAULT_METHODS",
    "METHODS",
    "CleanPass",
    "bind_methods",
    "clean_pass",
    "stage_gradients",
]
