"""The methods by name, and their hyper-parameters bound to them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.saliency.ablation_cam import ablation_cam
from sdd_jax.saliency.activation_energy import activation_energy
from sdd_jax.saliency.cam import cam
from sdd_jax.saliency.eigen_cam import eigen_cam
from sdd_jax.saliency.energy_cam import energy_cam
from sdd_jax.saliency.fine_cam import fine_cam
from sdd_jax.saliency.fine_sdd import fine_sdd
from sdd_jax.saliency.finer_cam import finer_cam
from sdd_jax.saliency.full_grad import full_grad
from sdd_jax.saliency.grad_cam import grad_cam
from sdd_jax.saliency.grad_cam_plus_plus import grad_cam_plus_plus
from sdd_jax.saliency.gradient_x_input import gradient_x_input
from sdd_jax.saliency.hires_cam import hires_cam
from sdd_jax.saliency.input_gradients import input_gradients
from sdd_jax.saliency.integrated_gradients import integrated_gradients
from sdd_jax.saliency.kernel_shap import kernel_shap
from sdd_jax.saliency.layer_cam import layer_cam
from sdd_jax.saliency.lime import lime
from sdd_jax.saliency.occlusion import occlusion
from sdd_jax.saliency.random_maps import centre, random_map, random_pixels
from sdd_jax.saliency.refine_cam import refine_cam
from sdd_jax.saliency.rise import rise
from sdd_jax.saliency.score_cam import score_cam
from sdd_jax.saliency.sdd import sdd
from sdd_jax.saliency.smooth_grad import smooth_grad
from sdd_jax.saliency.sobel import sobel
from sdd_jax.saliency.xgrad_cam import xgrad_cam
from sdd_jax.types import Explanation

METHODS: dict[str, Callable[..., Explanation]] = {
    "sdd": sdd,
    "cam": cam,
    "fine_sdd": fine_sdd,
    "fine_cam": fine_cam,
    "energy_cam": energy_cam,
    "finer_cam": finer_cam,
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "hires_cam": hires_cam,
    "xgrad_cam": xgrad_cam,
    "layer_cam": layer_cam,
    "refine_cam": refine_cam,
    "eigen_cam": eigen_cam,
    "score_cam": score_cam,
    "ablation_cam": ablation_cam,
    "rise": rise,
    "occlusion": occlusion,
    "lime": lime,
    "kernel_shap": kernel_shap,
    "input_gradients": input_gradients,
    "gradient_x_input": gradient_x_input,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
    "full_grad": full_grad,
    # What an explanation has to beat.
    "random_map": random_map,
    "random_pixels": random_pixels,
    "centre": centre,
    "sobel": sobel,
    "activation_energy": activation_energy,
}

# What `make run` compares.
DEFAULT_METHODS = ("sdd", "cam", "random_map", "random_pixels", "centre")

# They ask the network many times; `ablation_cam`, if the head is linear, that alone.
_ASKS_OFTEN = frozenset(
    ("score_cam", "ablation_cam", "rise", "occlusion", "lime", "kernel_shap")
    + ("integrated_gradients", "smooth_grad")
)

# A map costs less than ten forward passes.
CHEAP_METHODS = tuple(name for name in METHODS if name not in _ASKS_OFTEN)

# Their maps are the same for every target.
TARGET_FREE = frozenset(
    ("random_map", "random_pixels", "centre", "sobel", "activation_energy", "eigen_cam")
)

# They look at activations or gradients of stages: the clean pass can keep these.
USES_STAGES = frozenset(
    ("fine_cam", "fine_sdd", "energy_cam", "grad_cam", "grad_cam_plus_plus")
    + ("hires_cam", "xgrad_cam", "layer_cam", "refine_cam", "finer_cam")
)


def bind_methods(
    names: tuple[str, ...], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[..., Explanation]]:
    """Return the named methods with their hyper-parameters bound.

    Raises:
        InputError: a name is not known or stands twice, or there is none; or a method
            has no such hyper-parameter.
    """
    checks.require_names(names, METHODS, "method")
    for name in names:
        parameters = inspect.signature(METHODS[name]).parameters.values()
        takes = [x.name for x in parameters if x.kind is x.KEYWORD_ONLY]
        for option in options.get(name, {}):
            if option not in takes:
                raise InputError(
                    f"saliency.{name}.{option} is no hyper-parameter of {name}: "
                    f"expected some of {', '.join(takes) or 'none'}"
                )
    return {
        name: functools.partial(METHODS[name], **options.get(name, {}))
        for name in names
    }
