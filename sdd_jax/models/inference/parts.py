"""What the inference forms share: a convolution, and a network that runs in blocks."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax import sharding
from sdd_jax.models import convolution
from sdd_jax.models.layers import PReLU, Stem, through_stages

# Of a block's feature maps. With all that a layer needs beside them, several times as
# much, they stay within the caches of today's processors.
_BYTES_A_BLOCK = 2 * 2**20


class Constant(nnx.Variable):
    """An array of the inference form; never trained."""


class FoldedConv(nnx.Module):
    """Convolution plus bias."""

    def __init__(
        self,
        kernel: Float[np.ndarray, "size size inputs outputs"],
        bias: Float[np.ndarray, "*position outputs"],
        *,
        stride: int = 1,
        padding: int | None = None,
        dtype: DTypeLike,
        is_tiled: bool,
    ):
        """Keep the filters in `dtype`, the bias in float32.

        Args:
            kernel: the filters.
            bias: of every output channel, or of every position and channel.
            stride: of the convolution.
            padding: rows and columns of zeros on every side; half the kernel's where
                None.
            dtype: what is multiplied in.
            is_tiled: whether to use `convolution.tiled` where it applies.
        """
        self.stride = stride
        self.padding = kernel.shape[0] // 2 if padding is None else padding
        is_same = stride == self.padding == 1
        self.is_tiled = is_tiled and is_same and kernel.shape[:2] == (3, 3)
        if self.is_tiled:
            kernel = convolution.tile_kernel(kernel)
        self.kernel = Constant(jnp.asarray(kernel, dtype))
        self.bias = Constant(jnp.asarray(bias, jnp.float32))

    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch out_height out_width outputs"]:
        """Return float32 maps."""
        kernel = self.kernel[...]
        if self.is_tiled:
            return convolution.tiled(x, kernel) + self.bias[...]
        options = dict(stride=self.stride, padding=self.padding)
        return convolution.direct(x, kernel, **options) + self.bias[...]


class FoldedNetwork(nnx.Module):
    """A stem and units, for images of one size."""

    def __init__(
        self,
        network: Any,
        parts: Iterable[tuple[nnx.Module, int]],
        *,
        dtype: DTypeLike,
        is_tiled: bool,
    ):
        """Join the parts.

        Args:
            network: what was folded: its stages, where its cells lie.
            parts: the stem and every unit of the network, each with the number of
                values in the largest of its maps, of one image.
            dtype: what maps are kept in between the parts.
            is_tiled: run in blocks, as is best on a CPU.
        """
        self.dtype = dtype
        self.is_tiled = is_tiled
        self.cells, self.stages = network.cells, network.stages
        self.num_features = network.num_features
        # The longest runs of parts whose largest maps are of one size.
        self.runs = nnx.List()
        bytes_an_image: list[int] = []
        ends = []  # the number of runs up to each stage's end
        for number, (part, values) in enumerate(parts):  # the stem is number 0
            if bytes_an_image[-1:] != [4 * values] or number - 1 in network.ends:
                self.runs.append(nnx.List())
                bytes_an_image.append(4 * values)
            self.runs[-1].append(part)
            if number in network.ends:
                ends.append(len(self.runs))
        self.bytes_an_image = tuple(bytes_an_image)
        self.ends = tuple(ends)

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch h w channels"]:
        """Return the feature maps of normalised images, in `dtype`."""
        return self.with_taps(x, {})[0]

    def with_taps(
        self, x: Float[Array, "batch height width 3"], taps: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch h w channels"], dict[str, Array]]:
        """Return the feature maps and tapped activations; see `through_stages`."""

        def run_one(number: int, x: Array) -> Array:
            for part in self.runs[number]:
                x = part(x).astype(self.dtype)
            return x

        def run(start: int, end: int, x: Array) -> Array:
            for number in range(start, end):
                one_run = functools.partial(run_one, number)
                num_bytes = self.bytes_an_image[number]
                x = in_blocks(one_run, x, num_bytes) if self.is_tiled else one_run(x)
            return x

        network = functools.partial(through_stages, self, run)
        if self.is_tiled:
            network = sharding.on_each_device(network)
        return network(x, taps)


def in_blocks(f: Callable[[Array], Array], x: Array, bytes_an_image: int) -> Array:
    """Return f(x), computed for as many images at a time as stay in the cache.

    Blocks are as equal as can be; what the last one lacks is filled up with zeros.
    """
    fitting = max(1, _BYTES_A_BLOCK // bytes_an_image)
    num_blocks = -(-len(x) // fitting)
    if num_blocks <= 1:
        return f(x)
    size = -(-len(x) // num_blocks)
    missing = num_blocks * size - len(x)
    blocks = jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1)))
    y = jax.lax.map(f, blocks.reshape(num_blocks, size, *x.shape[1:]))
    return y.reshape(num_blocks * size, *y.shape[2:])[: len(x)]


def kernel_of(conv: Any) -> Float[np.ndarray, "size size inputs outputs"]:
    """Return a convolution's filters as folding takes them, in float64."""
    return np.asarray(conv.kernel[...], np.float64)


def scale_and_shift(norm: nnx.BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Return what the normalisation with its running statistics does to a channel."""
    assert norm.scale is not None and norm.bias is not None
    mean, variance, scale, shift = (
        np.asarray(array[...], np.float64)
        for array in (norm.mean, norm.var, norm.scale, norm.bias)
    )
    scale = scale / np.sqrt(variance + norm.epsilon)
    return scale, shift - scale * mean


def before_norm(
    kernel: np.ndarray, bias: np.ndarray | float, norm: nnx.BatchNorm
) -> tuple[np.ndarray, np.ndarray]:
    """Return filters and bias of a convolution with the normalisation behind it."""
    scale, shift = scale_and_shift(norm)
    return kernel * scale, bias * scale + shift


def same(prelu: PReLU) -> PReLU:
    """Return a rectifier with the same slopes."""
    shared = PReLU(len(prelu.slope[...]))
    shared.slope = prelu.slope
    return shared


class FoldedStem(nnx.Module):
    """Convolution and rectifier."""

    def __init__(self, stem: Stem, *, dtype: DTypeLike):
        """Fold the stem. Three channels are too few for `convolution.tiled`."""
        kernel, bias = before_norm(kernel_of(stem.conv), 0.0, stem.norm)
        self.conv = FoldedConv(kernel, bias, dtype=dtype, is_tiled=False)
        self.prelu = same(stem.prelu)

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch height width channels"]:
        """Return the first feature maps, float32."""
        return self.prelu(self.conv(x))
