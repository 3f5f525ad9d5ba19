"""3x3 convolutions of each channel alone, fast on a CPU in both directions.

XLA's grouped convolution is right for GPUs and TPUs. On a CPU it takes several times as
long as the nine products of shifted maps that it stands for, and the derivative of
shifted maps is slower still: what they were cut out of is put together again nine
times. So both are written here as the sums that they are.

Maps are [batch, height, width, channels]; every side is padded by one row or column of
zeros. With stride 2, output cell i begins at the input's cell 2 i - 1, and ceil(size /
2) cells come out. Sums are float32, or float64 of float64 maps. Only reverse
differentiation is defined.
"""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sdd_jax.models.layers import channel_sums


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 1 channels"],
    stride: int = 1,
) -> Float[Array, "batch out_height out_width channels"]:
    """Return every channel convolved with its own 3x3 filter.

    Args:
        x: maps.
        kernel: the filters, of the maps' dtype.
        stride: 1 or 2, along both axes.
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_shifted, stride=stride),
        default=functools.partial(_grouped, stride=stride),
    )


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _backward(
    stride: int, kept: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(
        *kept,
        gradient,
        cpu=functools.partial(_gradients_of_shifted, stride=stride),
        default=functools.partial(_gradients_of_grouped, stride=stride),
    )


depthwise.defvjp(_forward, _backward)


def _grouped(x: Array, kernel: Array, *, stride: int) -> Array:
    """Return the convolution as XLA knows it."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
        preferred_element_type=_wide(x),
        precision="highest",
    )


def _gradients_of_grouped(
    x: Array, kernel: Array, gradient: Array, *, stride: int
) -> tuple[Array, Array]:
    def grouped(x: Array, kernel: Array) -> Array:
        return _grouped(x, kernel, stride=stride)

    wide = (array.astype(_wide(x)) for array in (x, kernel))
    by_x, by_kernel = jax.vjp(grouped, *wide)[1](gradient)
    return by_x.astype(x.dtype), by_kernel.astype(kernel.dtype)


def _shifted(x: Array, kernel: Array, *, stride: int) -> Array:
    """Return the convolution as a sum of nine products."""
    dtype = _wide(x)
    taps = kernel.astype(dtype)[:, :, 0]
    shifts = _shifts(x.astype(dtype), stride)
    return _sum(taps[i, j] * shifts[i, j] for i, j in shifts)


def _gradients_of_shifted(
    x: Array, kernel: Array, gradient: Array, *, stride: int
) -> tuple[Array, Array]:
    dtype = _wide(x)
    shifts = _shifts(x.astype(dtype), stride)
    sums = [channel_sums(shift * gradient) for shift in shifts.values()]
    by_kernel = jnp.stack(sums).reshape(kernel.shape)
    # Where devices have maps of their own and the filters in common, the filters'
    # gradient is the sum over devices: which JAX adds on the way back of this sum.
    _, to_kernel = jax.vjp(lambda taps: taps + by_kernel, kernel.astype(dtype))
    (by_kernel,) = to_kernel(by_kernel)
    taps = kernel.astype(dtype)[:, :, 0]
    by_x = _spread_out(gradient, taps, stride, x.shape[1:])
    return by_x.astype(x.dtype), by_kernel.astype(kernel.dtype)


def _shifts(x: Array, stride: int) -> dict[tuple[int, int], Array]:
    """Return what each tap of the filter meets, for all output cells."""
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def one(i: int, j: int) -> Array:
        last = i + stride * (rows - 1) + 1, j + stride * (columns - 1) + 1
        return x[:, i : last[0] : stride, j : last[1] : stride]

    return {(i, j): one(i, j) for i in range(3) for j in range(3)}


def _spread_out(
    gradient: Array, taps: Array, stride: int, size: tuple[int, ...]
) -> Array:
    """Return the gradient by the maps: where each output's came from, it goes back."""
    if stride == 1:
        return _shifted(gradient, taps[::-1, ::-1, None], stride=1)
    # Even rows met the middle tap of their own output. Odd ones met the last tap of the
    # output before and the first of the one behind. Columns alike.
    rows, columns = gradient.shape[1:3]
    behind = jnp.pad(gradient, ((0, 0), (0, 1), (0, 1), (0, 0)))
    met = (((1, 0),), ((2, 0), (0, 1)))  # (tap, shift) of even and of odd cells
    parts = [
        [
            _sum(
                taps[i, j] * behind[:, di : di + rows, dj : dj + columns]
                for i, di in down
                for j, dj in across
            )
            for across in met
        ]
        for down in met
    ]
    whole = jnp.stack([jnp.stack(line, axis=3) for line in parts], axis=2)
    whole = whole.reshape(len(gradient), 2 * rows, 2 * columns, -1)
    return whole[:, : size[0], : size[1]]


def _sum(products: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, products)


def _wide(x: Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
