"""The methods by name, and their hyper-parameters bound to them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from sdd_jax import checks
from sdd_jax.saliency.ablation_cam import ablation_cam
from sdd_jax.saliency.cam import cam
from sdd_jax.saliency.kernel_shap import kernel_shap
from sdd_jax.saliency.lime import lime
from sdd_jax.saliency.occlusion import occlusion
from sdd_jax.saliency.random_maps import centre, random_map, random_pixels
from sdd_jax.saliency.rise import rise
from sdd_jax.saliency.score_cam import score_cam
from sdd_jax.saliency.sdd import sdd
from sdd_jax.types import Explanation

METHODS: dict[str, Callable[..., Explanation]] = {
    "sdd": sdd,
    "cam": cam,
    "random_map": random_map,
    "random_pixels": random_pixels,
    "centre": centre,
    "score_cam": score_cam,
    "ablation_cam": ablation_cam,
    "rise": rise,
    "occlusion": occlusion,
    "lime": lime,
    "kernel_shap": kernel_shap,
}

# What `make run` compares.
DEFAULT_METHODS = ("sdd", "cam", "random_map", "random_pixels", "centre")


def bind_methods(
    names: tuple[str, ...], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[..., Explanation]]:
    """Return the named methods with their hyper-parameters bound.

    Raises:
        InputError: a name is not known or stands twice, or there is none.
    """
    checks.require_names(names, METHODS, "method")
    return {
        name: functools.partial(METHODS[name], **options.get(name, {}))
        for name in names
    }
