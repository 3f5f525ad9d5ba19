"""AdamW with warm-up and cosine decay, and which parameters it trains."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import nnx

from sdd_jax.errors import InputError


def path_name(path: tuple[Any, ...]) -> str:
    """Return a variable's path as text, such as "backbone/blocks/7/conv1/kernel"."""
    return "/".join(str(part) for part in path)


def trained_by(parts: str) -> Callable[[tuple[Any, ...], Any], bool]:
    """Return the filter of the parameters whose path begins with the expression.

    Args:
        parts: a regular expression, such as "head|backbone/blocks/[789]/"; ".*" trains
            everything.

    Raises:
        InputError: it is not a regular expression.
    """
    try:
        pattern = re.compile(parts)
    except re.error as error:
        raise InputError(
            f"train.parts is {parts!r}, which is not a regular expression ({error}): "
            f"use for example 'head' or 'head|backbone/blocks/[789]/'"
        ) from error

    def is_trained(path: tuple[Any, ...], variable: Any) -> bool:
        is_param = issubclass(getattr(variable, "type", type(variable)), nnx.Param)
        return is_param and pattern.match(path_name(path)) is not None

    return is_trained


def trained_parts(model: nnx.Module, parts: str) -> set[str]:
    """Return which of "backbone" and "head" have parameters that are trained.

    Raises:
        InputError: none has.
    """
    trained = set(nnx.state(model, trained_by(parts)))
    if not trained:
        raise InputError(
            f"train.parts is {parts!r}, which matches no parameter of the network: "
            f"paths begin with {' or '.join(nnx.state(model))}"
        )
    return trained


def has_decay(params: Mapping[str, Any]) -> Any:
    """Return True for the matrices and filters, False for biases, slopes and norms."""
    return jax.tree.map(lambda x: x.ndim >= 2, params)


def learning_rate(config: Mapping[str, Any], peak: float) -> optax.Schedule:
    """Return a linear warm-up from 0 and a cosine decay to 0 at the last step.

    Raises:
        InputError: there are no steps, or the warm-up is no share of them.
    """
    steps, fraction = config["steps"], config["warmup_fraction"]
    if steps < 1:
        raise InputError(f"train.steps is {steps}, expected at least 1")
    if not 0 <= fraction < 1:
        raise InputError(
            f"train.warmup_fraction is {fraction}, expected at least 0 and below 1"
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=peak,
        warmup_steps=int(fraction * steps),
        decay_steps=steps,
    )


def make_optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
    """Return AdamW for a tree whose first names are "backbone" and "head".

    A fresh head needs longer steps than a pretrained backbone, so each has its own
    peak learning rate. The gradient is clipped as a whole.

    Args:
        config: steps, warmup_fraction, head_learning_rate, backbone_learning_rate,
            weight_decay, clip_norm.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def adamw(peak: float) -> optax.GradientTransformation:
        return optax.adamw(
            learning_rate(config, peak),
            weight_decay=config["weight_decay"],
            mask=has_decay,
        )

    def part(params: Mapping[str, Any]) -> Any:
        return {
            name: jax.tree.map(lambda _, n=name: n, params[name]) for name in params
        }

    return optax.chain(
        optax.clip_by_global_norm(config["clip_norm"]),
        optax.partition(
            {
                "head": adamw(config["head_learning_rate"]),
                "backbone": adamw(config["backbone_learning_rate"]),
            },
            part,
        ),
    )
