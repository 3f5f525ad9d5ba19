"""Losses with a margin: the cosine to the true class must win by more than nothing.

For training on people by the million, where softmax leaves classes just apart. The
logits are SCALE * cos(theta_c), theta_c between an image's features and class c's
column of the head's kernel; the true class's is made smaller before the softmax, by an
angle and by a number:

    SCALE * (cos(theta + angle) - less)

The features are what `PooledHead` standardises: the average over the cells, not an
embedding layer such as AdaFace's own, for a class map is a sum over cells of a linear
layer on that average. So verification figures of published networks are not to be
compared with these.

What answers after training is the linear head, as everywhere, so class maps stay exact.
A loss of cosines does not see how long a column is, and has no offset: after each step
all columns are given one length, SCALE / sqrt(features), and the offset stays zero. A
logit of the linear head is then

    SCALE * cos(theta_c) * |features| / sqrt(features)

Its likeliest class is the one of the largest cosine. Its softmax is the loss's own for
an image whose standardised features are of the usual length, surer for a longer one,
and near 1 for most: SCALE is 64.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.errors import InputError

SCALE = 64.0  # s of both papers
FOLD = 2**31  # of a seed's key: steps, which fold in their number, end before it
_EDGE = 1e-6  # of cosines: at 1 the angle has no derivative
_TINY = 1e-12  # of lengths

# Norms [batch], statistics -> angles, what is taken off [batch], the next statistics.
Shifts = Callable[..., tuple[Array, Array, dict[str, Array]]]


@dataclasses.dataclass(frozen=True)
class Margin:
    """A loss with a margin."""

    shifts: Shifts
    # Running statistics before the first step; a state of training carries them.
    start: Mapping[str, float] = dataclasses.field(default_factory=dict)


def arcface(
    norms: Float[Array, " batch"],
    statistics: Mapping[str, Any],
    *,
    margin: float = 0.5,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], dict[str, Array]]:
    """Return ArcFace's margin: the same angle for every image.

    References:
        Deng, Guo, Xue, Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
        Recognition", CVPR 2019, equation 3.
    """
    return jnp.full_like(norms, margin), jnp.zeros_like(norms), {}


def adaface(
    norms: Float[Array, " batch"],
    statistics: Mapping[str, Any],
    *,
    margin: float = 0.4,
    concentration: float = 0.333,
    momentum: float = 0.01,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], dict[str, Array]]:
    """Return AdaFace's margins, by the images' quality.

    The norm of an image's features stands for its quality. With z the norm in running
    deviations from the running mean, times `concentration`, between -1 and 1, the angle
    is -margin z and margin z + margin is taken off: hard images of high quality count
    most, and those of low quality, which may show nobody, least.

    The details are those of the authors' code: norms between 0.001 and 100, which are
    no part of the gradient; the deviation of a sample, n - 1; the running statistics
    learn the batch first, with weight `momentum`.

    Args:
        norms: of the batch's features, over all devices.
        statistics: norm_mean and norm_deviation.
        margin: the paper's m.
        concentration: the paper's h.
        momentum: t_alpha of the authors' code.

    References:
        Kim, Jain, Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR
        2022, section 3.3.
    """
    norms = jax.lax.stop_gradient(jnp.clip(norms, 0.001, 100.0))
    seen = {"norm_mean": norms.mean(), "norm_deviation": norms.std(ddof=1)}
    running = {
        name: momentum * seen[name] + (1 - momentum) * statistics[name] for name in seen
    }
    deviations = (norms - running["norm_mean"]) / (running["norm_deviation"] + 1e-3)
    quality = jnp.clip(concentration * deviations, -1.0, 1.0)
    return -margin * quality, margin * quality + margin, running


LOSSES: Mapping[str, Margin | None] = {
    "softmax": None,
    "arcface": Margin(arcface),
    "adaface": Margin(adaface, {"norm_mean": 20.0, "norm_deviation": 100.0}),
}


def named(options: Mapping[str, Any]) -> Margin | None:
    """Return the margin of a config's `train`; None is the softmax without one.

    Raises:
        InputError: there is no such loss, or the batch has no deviation.
    """
    name = options["loss"]
    if name not in LOSSES:
        raise InputError(
            f"train.loss is {name!r}: expected one of {', '.join(LOSSES)}; pass "
            f"--config.train.loss=..."
        )
    if name == "adaface" and options["batch_size"] < 2:
        raise InputError(
            f"train.batch_size is {options['batch_size']}, but train.loss=adaface "
            f"measures how norms differ within a batch: choose at least 2"
        )
    return LOSSES[name]


def lengths(vectors: Array, axis: int) -> Array:
    """Return vectors' lengths along an axis, which stays; never 0."""
    squares = jnp.square(vectors).sum(axis, keepdims=True)
    return jnp.sqrt(jnp.maximum(squares, _TINY**2))


def cosines(
    features: Float[Array, "batch features"], kernel: Float[Array, "features classes"]
) -> Float[Array, "batch classes"]:
    """Return the cosines between features and columns."""
    return jnp.dot(
        features / lengths(features, 1),
        kernel / lengths(kernel, 0),
        precision="highest",
    )


def with_margin(
    cosine: Float[Array, " batch"],
    angles: Float[Array, " batch"],
    less: Float[Array, " batch"],
) -> Float[Array, " batch"]:
    """Return the true class's cosines as the loss takes them.

    An angle stays between 0 and pi. Beyond pi, where an image is as good as opposite
    to its class, the gradient is of the other classes alone, as in AdaFace's code.
    """
    theta = jnp.arccos(jnp.clip(cosine, -1 + _EDGE, 1 - _EDGE))
    return jnp.cos(jnp.clip(theta + angles, 0.0, math.pi)) - less


def of_one_length(
    kernel: Float[Array, "features classes"],
) -> Float[Array, "features classes"]:
    """Return the kernel with columns as long as the linear head wants them."""
    length = SCALE / math.sqrt(len(kernel))
    return kernel * (length / lengths(kernel, 0))


def as_linear(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the head's columns of one length, if any are trained."""
    head = dict(params.get("head", {}))
    if "kernel" not in head:
        return dict(params)
    return dict(params) | {"head": head | {"kernel": of_one_length(head["kernel"])}}


@functools.partial(jax.jit, static_argnums=1)
def start(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "f c"]:
    """Return columns in random directions: zero, where a head starts, has none."""
    return of_one_length(jax.random.normal(key, shape))
