"""The layers that face networks trained in PyTorch need, with its conventions.

Feature maps are [batch, height, width, channels]. Parameters are float32; `dtype` is
what is computed in. Nothing here chooses between training and evaluation: batch
normalisation uses the batch's statistics until `nnx.view(model,
use_running_average=True)`.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def spread(
    values: Float[ArrayLike, " channels"], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "batch height width channels"]:
    """Return maps of one value a channel, in `dtype`.

    What a layer does with a parameter of each channel is written with it, because the
    gradient by the parameter then is the sum that a CPU computes fastest.
    """
    return jnp.broadcast_to(jnp.asarray(values, dtype), shape)


def _spread_forward(
    values: Array, shape: tuple[int, ...], dtype: DTypeLike
) -> tuple[Array, None]:
    return spread(values, shape, dtype), None


def _spread_backward(
    shape: tuple[int, ...], dtype: DTypeLike, _: None, gradient: Array
) -> tuple[Array]:
    return (channel_sums(gradient.astype(jnp.float32)),)


spread.defvjp(_spread_forward, _spread_backward)


def channel_sums(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, " channels"]:
    """Return each channel's sum over images and positions, as is fastest."""
    return jax.lax.platform_dependent(x, cpu=_sums_by_product, default=_sums)


def _sums(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, " channels"]:
    return x.sum((0, 1, 2))


def _sums_by_product(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, " channels"]:
    """Return each channel's sum: of every column first, as a product with ones.

    A CPU's own sums take two to four times as long; one product over all positions
    would add up a long row of numbers one by one, and lose digits.
    """
    batch, height, width, channels = x.shape
    ones = jnp.ones(batch * height, x.dtype)
    columns = x.reshape(batch * height, width * channels)
    sums = jnp.matmul(ones, columns, precision="highest")
    return sums.reshape(width, channels).sum(0)


class PReLU(nnx.Module):
    """A leaky rectifier that learns one slope for each channel.

    References:
        He, Zhang, Ren, Sun. Delving Deep into Rectifiers. ICCV 2015, equation 1.
    """

    def __init__(self, num_features: int):
        """Start from slopes of 0.25."""
        self.slope = nnx.Param(jnp.full(num_features, 0.25, jnp.float32))

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        """Scale the negative values of every channel by the channel's slope."""
        return jnp.where(x >= 0, x, spread(self.slope[...], x.shape, x.dtype) * x)


class Conv(nnx.Conv):
    """A convolution of maps, plus a bias of each channel."""

    def __init__(self, *arguments: Any, **options: Any):
        """Draw the parameters; the arguments are flax's."""
        super().__init__(*arguments, **options)
        self.use_bias = False  # flax's own sum, that is

    def __call__(
        self,
        inputs: Float[Array, "batch height width inputs"],
        out_sharding: Any = None,
    ) -> Float[Array, "batch h w outputs"]:
        """Return the maps, in `dtype`."""
        y = super().__call__(inputs, out_sharding)
        assert self.bias is not None
        return y + spread(self.bias[...], y.shape, y.dtype)


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over all axes but the last."""

    def __call__(
        self, x: Array, use_running_average: bool | None = None, **options: Any
    ) -> Array:
        """Return the maps normalised, in `dtype`."""
        by_batch = not (self.use_running_average or use_running_average)
        if by_batch or options or self.scale is None or self.bias is None or x.ndim < 4:
            return super().__call__(x, use_running_average, **options)
        factor = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
        mean, factor, shift = (
            spread(values, x.shape, jnp.float32)
            for values in (self.mean[...], factor, self.bias[...])
        )
        return ((x - mean) * factor + shift).astype(self.dtype)


def conv3x3(
    in_features: int,
    out_features: int,
    *,
    stride: int = 1,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A 3x3 convolution without bias, one row or column of zeros on every side."""
    # "SAME" would put a stride-2 convolution's only zeros at the bottom and right.
    return nnx.Conv(
        in_features,
        out_features,
        kernel_size=(3, 3),
        strides=stride,
        padding=((1, 1), (1, 1)),
        use_bias=False,
        dtype=dtype,
        rngs=rngs,
    )


def conv1x1(
    in_features: int,
    out_features: int,
    *,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A 1x1 convolution without bias."""
    return nnx.Conv(
        in_features,
        out_features,
        kernel_size=(1, 1),
        use_bias=False,
        dtype=dtype,
        rngs=rngs,
    )


def batch_norm(
    num_features: int,
    *,
    affine: bool = True,
    epsilon: float = 1e-5,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
) -> nnx.BatchNorm:
    """Batch normalisation over all axes but the last.

    The running variance follows the batch's biased variance, where PyTorch follows the
    unbiased one: n / (n - 1) apart, n values a channel. Evaluation is the same.
    """
    return BatchNorm(
        num_features,
        epsilon=epsilon,
        momentum=0.9,  # what is kept; PyTorch's 0.1 is what is replaced
        use_bias=affine,
        use_scale=affine,
        dtype=dtype,
        rngs=rngs,
    )


def chain(
    units: Iterable[Callable[[Array], Array]],
    x: Float[Array, "batch height width channels"],
    *,
    remat: bool,
) -> Float[Array, "batch h w c"]:
    """Return what comes out of residual units, one behind the other.

    Args:
        units: modules, each from maps to maps.
        x: what goes into the first.
        remat: keep only what goes into each unit for its gradient, and compute the unit
            again when it is needed.

    References:
        Chen, Xu, Zhang, Guestrin. Training Deep Nets with Sublinear Memory Cost. 2016.
    """
    for unit in units:
        x = nnx.remat(type(unit).__call__)(unit, x) if remat else unit(x)
    return x


def through_stages(
    network: Any,
    run: Callable[[int, int, Array], Array],
    x: Float[Array, "batch height width channels"],
    taps: Mapping[str, Array],
) -> tuple[Float[Array, "batch h w c"], dict[str, Array]]:
    """Return what comes out of the last stage, and of each one that has a tap.

    Args:
        network: has `stages`, and `ends`, the number of parts up to each one's end.
        run: (start, end, x) -> what comes out of the parts from start to end.
        x: what goes into the first stage.
        taps: for some stages, what is added to what comes out of them: zeros, by which
            the gradients there are taken. The sum is what goes on.
    """
    activations, start = {}, 0
    for stage, end in zip(network.stages, network.ends, strict=True):
        x = run(start, end, x)
        if stage.name in taps:
            x = x + taps[stage.name].astype(x.dtype)
            activations[stage.name] = x
        start = end
    return x, activations


class Stem(nnx.Module):
    """Convolution, normalisation, rectifier; the size stays."""

    def __init__(
        self,
        out_features: int,
        *,
        epsilon: float = 1e-5,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters; `epsilon` is the normalisation's."""
        self.conv = conv3x3(3, out_features, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(out_features, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.prelu = PReLU(out_features)

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch height width channels"]:
        """Return the first feature maps."""
        return self.prelu(self.norm(self.conv(x)))
