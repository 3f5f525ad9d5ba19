"""3x3 convolutions at the speed of matrix products: what inference runs on a CPU.

XLA's own convolution is right for GPUs and TPUs. On a CPU it reaches half the rate of
its matrix products in float32, and in bfloat16 gains nothing. There, a convolution of
stride 1 is sixteen products of the image's overlapping 4x4 tiles with a transformed
kernel: F(2x2, 3x3), which also takes 4 multiplications an output where the sum itself
takes 9. Its float32 rounding error is the direct sum's.
`benchmarks/kernels/convolutions.py` holds the other formulations and measures them all.

Maps are [batch, height, width, channels]; every side is padded by one row or column of
zeros. Sums are float32, whatever is multiplied.

References:
    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
    section 4.1.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sdd_jax import sharding

# Along one axis: three filter taps -> the four factors of a tile.
_TAPS_TO_TILE = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}


def compiler_options(platform: str = "") -> dict[str, str]:
    """Return what `jax.jit` is given so that XLA's own convolutions are fast.

    On CPUs, XLA leaves convolutions to YNNPACK, whose gradients by the kernel take up
    to three times as long as those of Eigen, and whose strided 7x7 convolution of three
    channels takes five times as long. Without them among the types of YNNPACK's
    fusions, they are Eigen's.

    Args:
        platform: "cpu", "gpu" or "tpu"; the mesh's where "".
    """
    platform = platform or sharding.platform()
    return dict(_OPTIONS) if platform == "cpu" and _options_exist() else {}


@functools.cache
def _options_exist() -> bool:
    """Return whether this XLA knows the option, which is called experimental."""
    try:
        jax.jit(lambda: 0, compiler_options=_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def direct(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "size size inputs outputs"],
    *,
    stride: int = 1,
    padding: int | None = None,
) -> Float[Array, "batch out_height out_width outputs"]:
    """Return XLA's convolution of the maps, in the kernel's dtype, as float32.

    Args:
        x: maps.
        kernel: the filters.
        stride: along both axes.
        padding: rows and columns of zeros on every side; half the kernel's where None.
    """
    border = (kernel.shape[0] // 2 if padding is None else padding,) * 2
    return jax.lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        window_strides=(stride, stride),
        padding=(border, border),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.float32,
        precision="highest",  # float32 means it on GPUs and TPUs too
    )


def tile_kernel(
    kernel: Float[np.ndarray, "3 3 inputs outputs"],
) -> Float[np.ndarray, "4 4 inputs outputs"]:
    """Return a kernel as `tiled` takes it: once, in the kernel's own precision."""
    rows = np.tensordot(_TAPS_TO_TILE, kernel, axes=(1, 0))
    return np.moveaxis(np.tensordot(_TAPS_TO_TILE, rows, axes=(1, 1)), 0, 1)


def tiled(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "4 4 inputs outputs"],
) -> Float[Array, "batch height width outputs"]:
    """Return the convolution with stride 1, in the kernel's dtype, as float32.

    Args:
        x: maps.
        kernel: from `tile_kernel`.
    """
    batch, height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)  # of tiles, 2x2 outputs each
    padding = ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0))
    x = jnp.pad(x.astype(jnp.float32), padding)
    # One array for each place in a tile: [batch, rows, columns, inputs].
    tiles = [
        [x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for j in range(4)]
        for i in range(4)
    ]
    tiles = _along_both(_tile_to_factors, tiles)
    products = [
        [
            jnp.matmul(
                tiles[i][j].astype(kernel.dtype),
                kernel[i, j],
                preferred_element_type=jnp.float32,
                precision="highest",
            )
            for j in range(4)
        ]
        for i in range(4)
    ]
    outputs = _along_both(_products_to_outputs, products)
    y = jnp.stack([jnp.stack(line, axis=3) for line in outputs], axis=2)
    y = y.reshape(batch, 2 * rows, 2 * columns, -1)
    return y[:, :height, :width]


def _tile_to_factors(d: list[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _products_to_outputs(m: list[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _along_both(
    transform: Callable[[list[Array]], list[Array]], square: list[list[Array]]
) -> list[list[Array]]:
    """Return the square of arrays, transformed along columns and then along rows."""
    columns = [transform(list(column)) for column in zip(*square, strict=True)]
    return [transform(list(row)) for row in zip(*columns, strict=True)]
