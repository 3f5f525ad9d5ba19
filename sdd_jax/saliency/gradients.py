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
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass, with_stages
from sdd_jax.types import Stage


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


def chosen_stages(
    model: FaceClassifier, names: Sequence[str] | None
) -> tuple[Stage, ...]:
    """Return the stages of these names, as they were listed; all of them where None.

    Raises:
        InputError: a stage is not known.
    """
    known = {stage.name: stage for stage in model.stages}
    for name in names or ():
        if name not in known:
            raise InputError(
                f"unknown stage {name!r}: expected some of {', '.join(known)}"
            )
    return model.stages if names is None else tuple(known[name] for name in names)


def chosen_stage(model: FaceClassifier, name: str | None) -> Stage:
    """Return the stage of this name; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.
    """
    return model.stages[-1] if name is None else chosen_stages(model, [name])[0]


def stage_activations(
    model: FaceClassifier,
    clean: CleanPass,
    stages: Sequence[str],
) -> dict[str, Array]:
    """Return what some stages hold, [batch, rows, columns, channels], by name.

    There is no backward pass; see `stage_gradients`.
    """
    chosen_stages(model, stages)
    if clean.activations is not None:
        return {name: clean.activations[name] for name in stages}
    fitting_any = jnp.zeros((len(clean.images), 1, 1, 1))
    return model.with_taps(clean.images, dict.fromkeys(stages, fitting_any))[1]


def placed_at_stage(
    model: FaceClassifier,
    clean: CleanPass,
    stage: str | None,
    map_of: Callable[[Array, Array], Array],
    *,
    objective: str | Callable[[Array], Array] = "logit",
) -> Float[Array, "batch height width"]:
    """Return what a method makes of one stage, at the images' resolution.

    Args:
        model: the classifier.
        clean: its clean pass.
        stage: a name in `model.stages`; the last, the feature maps', where None.
        map_of: activations and gradients, float32 [batch, rows, columns, channels], ->
            a map of the stage's cells, float32 [batch, rows, columns].
        objective: as for `stage_gradients`.

    Raises:
        InputError: the stage is not known.
    """
    place = chosen_stage(model, stage)
    found = stage_gradients(model, clean, stages=[place.name], objective=objective)
    activations, gradients = (
        maps[place.name].astype(jnp.float32)
        for maps in (found.activations, found.gradients)
    )
    maps = map_of(activations, gradients)
    return upsample(maps, clean.images.shape[1:3], place.cells)


def stage_gradients(
    model: FaceClassifier,
    clean: CleanPass,
    *,
    stages: Sequence[str] | None = None,
    objective: str | Callable[[Array], Array] = "logit",
    against: Int[Array, " batch"] | None = None,
) -> StageGradients:
    """Return activations and gradients of the targets' objective at some stages.

    Where an image's objective is NaN, as that of no class is, so are its gradients.

    Args:
        model: the classifier, folded or not.
        clean: its clean pass.
        stages: names in `model.stages`; all of them where None.
        objective: a name in OBJECTIVES, or a function of the feature maps that gives a
            value an image, float32 [batch]. No image's value may depend on another's
            maps.
        against: for "contrast", the class that each target is compared with.

    Raises:
        InputError: a stage or an objective is not known, or `against` is missing, not
            asked for, or no class.
    """
    names = [stage.name for stage in chosen_stages(model, stages)]
    if isinstance(objective, str) and objective not in OBJECTIVES:
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

    def value_of(feature_maps: Array) -> Array:
        if isinstance(objective, str):
            known = OBJECTIVES[objective]
            return known(model, feature_maps, clean.targets, against)
        return objective(feature_maps)

    if clean.pullback is None:
        clean = with_stages(model, clean)
    value, to_maps = jax.vjp(value_of, clean.feature_maps)
    # No image's value depends on another's maps: the sum's gradient is each one's own.
    (cotangent,) = to_maps(jnp.ones_like(value))
    (gradients,) = clean.pullback(cotangent)
    activations = {name: clean.activations[name] for name in names}
    gradients = {name: gradients[name] for name in names}
    # Nothing changes with the logit of no class: its gradient is none, not 0.
    is_none = jnp.isnan(value)[:, None, None, None]
    gradients = jax.tree.map(lambda g: jnp.where(is_none, jnp.nan, g), gradients)
    return StageGradients(value, activations, gradients)
