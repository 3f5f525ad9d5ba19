"""One step of training and one of validation: pure functions, jitted by `runs`."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jaxtyping import Key

from sdd_jax import checks, sharding
from sdd_jax.models import FaceClassifier, convolution
from sdd_jax.training.guidance import Guidance, Seen, guided
from sdd_jax.training.margins import Margin, as_linear
from sdd_jax.training.objective import outcomes
from sdd_jax.training.optimizer import trained_by, trained_parts
from sdd_jax.types import Batch, TrainState

FeatureMaps = Callable[[FaceClassifier, Any], Array]


def init_state(
    model: FaceClassifier,
    tx: optax.GradientTransformation,
    parts: str,
    margin: Margin | None = None,
    guidance: Guidance | None = None,
) -> tuple[nnx.GraphDef, TrainState]:
    """Return the model's structure and the state before the first step.

    Args:
        model: what is trained.
        tx: the optimiser.
        parts: see `optimizer.trained_by`.
        margin: see `train_step`.
        guidance: see `train_step`.

    Raises:
        InputError: `parts` matches no parameter.
    """
    trained_parts(model, parts)
    graphdef, params, batch_stats, frozen = nnx.split(
        model, trained_by(parts), nnx.BatchStat, ...
    )
    params, batch_stats, frozen = map(nnx.to_pure_dict, (params, batch_stats, frozen))
    opt_state = tx.init(params)
    start = dict(margin.start) if margin else {}
    statistics = {name: jnp.float32(value) for name, value in start.items()}
    if guidance is not None:
        statistics |= {k: jnp.float32(v) for k, v in guidance.statistics.items()}
    return graphdef, TrainState(
        jnp.int32(0), params, batch_stats, frozen, opt_state, statistics
    )


def merge(
    graphdef: nnx.GraphDef,
    state: TrainState,
    *,
    update_batch_stats: bool = False,
    remat: bool = False,
) -> FaceClassifier:
    """Return the model of a state.

    Args:
        graphdef: the model's structure.
        state: its arrays.
        update_batch_stats: normalise by the batch and update the running statistics.
        remat: compute each residual unit a second time for its gradient instead of
            keeping what is in it.
    """
    parts = (state.params, state.batch_stats, state.frozen)
    model = nnx.merge(graphdef, *(nnx.State(part) for part in parts), copy=True)
    model.set_attributes(
        use_running_average=not update_batch_stats,
        remat=remat,
        raise_if_not_found=False,
    )
    return model


def train_step(
    state: TrainState,
    inputs: Any,
    labels: Array,
    *,
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
    feature_maps: FeatureMaps,
    label_smoothing: float,
    update_batch_stats: bool,
    remat: bool = False,
    margin: Margin | None = None,
    guidance: Guidance | None = None,
    weights: Mapping[str, Array] | None = None,
    regions: Array | None = None,
    keys: Array | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Return the next state and the step's loss, accuracy (0 to 1) and gradient norm.

    And each term of the guidance, before its weight. The loss is NaN where a label is
    no class.

    Args:
        state: before the step.
        inputs: whatever `feature_maps` takes: images, or their cached features.
        labels: int, [batch].
        graphdef: the model's structure.
        tx: the optimiser.
        feature_maps: (model, inputs) -> [batch, height, width, features].
        label_smoothing: see `cross_entropy`.
        update_batch_stats: whether batch norm learns the new images' statistics.
        remat: see `merge`.
        margin: of `margins.LOSSES`; None is the softmax of the head's own logits.
        guidance: what the explanations must be like; the inputs are then images.
        weights: its terms'.
        regions: where to look or not, bool [batch, height, width], if a term asks.
        keys: each image's own in this step, if there is guidance.
    """

    def loss(params: Any) -> tuple[Array, tuple[Any, ...]]:
        trained = dataclasses.replace(state, params=params)
        model = merge(
            graphdef, trained, update_batch_stats=update_batch_stats, remat=remat
        )
        maps = feature_maps(model, inputs)
        # Before guidance looks at other views, whose statistics are not the images'.
        batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        answer = functools.partial(
            outcomes,
            model.head,
            labels=labels,
            label_smoothing=label_smoothing,
            margin=margin,
            statistics=state.statistics,
        )
        found = answer(maps)
        are_classes = checks.are_classes(labels, model.num_classes).all()
        if guidance is None:
            value, terms, statistics = found.losses.mean(), {}, found.statistics
        else:
            value, terms, own = guided(
                guidance,
                Seen(model, inputs, labels, maps, regions, keys),
                found,
                answer,
                weights=weights or {},
                statistics={
                    name: state.statistics[name] for name in guidance.statistics
                },
            )
            statistics = dict(found.statistics) | own
        return value, (found.predicted, are_classes, batch_stats, terms, statistics)

    (value, aux), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    predicted, are_classes, batch_stats, terms, statistics = aux
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    if margin is not None:
        params = as_linear(params)
    metrics = {
        "loss": jnp.where(are_classes, value, jnp.nan),
        "accuracy": (predicted == labels).mean(),
        "gradient_norm": optax.tree.norm(gradients),
        **terms,
    }
    return TrainState(
        state.step + 1, params, batch_stats, state.frozen, opt_state, statistics
    ), metrics


def compiler_options(*, remat: bool) -> dict[str, str]:
    """Return what `jax.jit` must be given for a step.

    Where the step rematerialises, XLA's compiler for CPUs removes the barriers between
    the first and the second computation of a unit early, then finds the two equal and
    keeps the first: all of the memory would be used after all.
    """
    options = convolution.compiler_options()
    if remat and sharding.platform() == "cpu":
        options["xla_disable_hlo_passes"] = "cse_barrier_expander"
    return options


def validation_step(
    state: TrainState, batch: Batch, *, graphdef: nnx.GraphDef
) -> dict[str, Array]:
    """Return sums over the valid images: loss, correct, and their number."""
    model = merge(graphdef, state)
    found = outcomes(model.head, model.feature_maps(batch.images), batch.labels)
    is_class = checks.are_classes(batch.labels, model.num_classes)
    losses = jnp.where(is_class, found.losses, jnp.nan)
    correct = found.predicted == batch.labels
    return {
        "loss": jnp.where(batch.valid, losses, 0.0).sum(),
        "correct": jnp.where(batch.valid, correct, False).sum(),
        "num_images": batch.valid.sum(),
    }


def step_keys(key: Key[Array, ""], step: Array, batch_size: int) -> Array:
    """Return the keys of one step's images, a function of the step alone."""
    return jax.random.split(jax.random.fold_in(key, step), batch_size)
