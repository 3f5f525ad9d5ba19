"""Activations and gradients at any stages, from one forward and one backward pass.

A tap is a zero that is added to an activation: the gradient by the tap is the gradient
by the activation, at as many stages as one likes, without hooks.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StageGradients:
    """What the stages hold, and how an objective changes with it."""

    value: Any  # float32 [batch], the objective
    activations: dict[str, Any]  # by stage, float [batch, rows, columns, channels]
    gradients: dict[str, Any]  # by stage, d value / d activation, likewise


def _logit(model: Any, feature_maps: Array, targets: Array, against: Any) -> Array:
    return model.scores(feature_maps, targets).value


def _log_probability(
    model: Any, feature_maps: Array, targets: Array, against: Any
) -> Array:
    return model.scores(feature_maps, targets).log_confidence


def _contrast(model: Any, feature_maps: Array, targets: Array, against: Any) -> Array:
    value = model.scores(feature_maps, targets).value
    return value - model.scores(feature_maps, against).value


# Each is (model, feature_maps, targets, against) -> float32 [batch].
OBJECTIVES: dict[str, Callable[..., Array]] = {
    "logit": _logit,  # the target's value
    "log_probability": _log_probability,  # the logarithm of its confidence
    "contrast": _contrast,  # its value less that of another class
}


def stage_gradients(
    model: FaceClassifier,
    clean: CleanPass,
    *,
    stages: Sequence[str] | None = None,
    objective: str = "logit",
    against: Int[Array, " batch"] | None = None,
) -> StageGradients:
    """Return activations and gradients of the targets' objective at some stages.

    Args:
        model: the classifier, folded or not.
        clean: its clean pass.
        stages: names in `model.stages`; all of them where None.
        objective: a name in OBJECTIVES.
        against: for "contrast", the class that each target is compared with.

    Raises:
        InputError: a stage or an objective is not known, or `against` is missing, not
            asked for, or no class.
    """
    known = [stage.name for stage in model.stages]
    names = known if stages is None else list(stages)
    for name in names:
        if name not in known:
            raise InputError(
                f"unknown stage {name!r}: expected some of {', '.join(known)}"
            )
    if objective not in OBJECTIVES:
        raise InputError(
            f"unknown objective {objective!r}: expected one of {', '.join(OBJECTIVES)}"
        )
    if (against is None) == (objective == "contrast"):
        raise InputError(
            f"the objective is {objective!r} and the class to compare with is "
            f"{'missing' if against is None else 'given'}: expected `against` for "
            f"'contrast', and only there"
        )
    if against is not None:
        shape = (len(clean.images),)
        against = checks.classes(against, model.num_classes, "against", shape)

    def total(taps: dict[str, Array]) -> tuple[Float[Array, ""], Any]:
        feature_maps, activations = model.with_taps(clean.images, taps)
        value = OBJECTIVES[objective](model, feature_maps, clean.targets, against)
        # No image's value depends on another's activations: the sum's gradient is each
        # one's own.
        return value.sum(), (value, activations)

    fitting_any = jnp.zeros((len(clean.images), 1, 1, 1))
    _, (_, shapes) = jax.eval_shape(total, dict.fromkeys(names, fitting_any))
    taps = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    gradients, (value, activations) = jax.grad(total, has_aux=True)(taps)
    return StageGradients(value, activations, gradients)
