"""The inference form of a network: no normalisation is left, only what it amounts to.

Batch normalisation with fixed statistics is x -> scale x + shift. Behind a convolution
both go into its filters and its bias. Before one, the scale goes into the filters; the
shift is a constant picture, whose convolution is a bias, but for the border: there the
convolution sees zeros instead of the shift, so the bias is a map with a value for every
position. Nothing is approximated; folding is done in float64 on the host.

On a CPU, `convolution.tiled` takes the place of XLA's convolution, and pictures go
through in blocks that stay in the cache.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.models import convolution
from sdd_jax.models.classifier import FaceClassifier, replicated
from sdd_jax.models.ir_resnet import IRResNet, Unit
from sdd_jax.models.layers import PReLU, through_stages

# Of a block's feature maps. With all that a layer needs beside them, several times as
# much, they stay within the caches of today's processors.
_BYTES_A_BLOCK = 4 * 2**20

DTYPES = ("float32", "bfloat16")  # of convolutions; float16 overflows in such networks


class Constant(nnx.Variable):
    """An array of the inference form; never trained."""


class FoldedConv(nnx.Module):
    """Convolution plus bias, padded with zeros to keep the size (over the stride)."""

    def __init__(
        self,
        kernel: Float[np.ndarray, "size size inputs outputs"],
        bias: Float[np.ndarray, "*position outputs"],
        *,
        stride: int,
        dtype: DTypeLike,
        is_tiled: bool,
    ):
        """Keep the filters in `dtype`, the bias in float32.

        Args:
            kernel: the filters.
            bias: of every output channel, or of every position and channel.
            stride: of the convolution.
            dtype: what is multiplied in.
            is_tiled: whether to use `convolution.tiled` where it applies.
        """
        self.stride = stride
        self.is_tiled = is_tiled and stride == 1 and kernel.shape[:2] == (3, 3)
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
        return convolution.direct(x, kernel, stride=self.stride) + self.bias[...]


class FoldedUnit(nnx.Module):
    """A residual unit: convolution, rectifier, convolution, beside the shortcut."""

    def __init__(self, unit: Unit, size: int, *, dtype: DTypeLike, is_tiled: bool):
        """Fold a unit whose input has `size` rows and columns."""
        kernel, bias = _behind_norm(_kernel(unit.conv1), unit.norm1, size)
        kernel, bias = _before_norm(kernel, bias, unit.norm2)
        self.conv1 = FoldedConv(kernel, bias, stride=1, dtype=dtype, is_tiled=is_tiled)
        self.prelu = PReLU(kernel.shape[-1])
        self.prelu.slope = unit.prelu.slope
        kernel, bias = _before_norm(_kernel(unit.conv2), 0.0, unit.norm3)
        projection = None
        if unit.projection is not None:
            projected = unit.projection
            matrix, more = _before_norm(_kernel(projected.conv), 0.0, projected.norm)
            # The shortcut's bias can as well be added with the residual's.
            bias = bias + more
            projection = Constant(jnp.asarray(matrix, dtype))
        self.conv2 = FoldedConv(
            kernel, bias, stride=unit.stride, dtype=dtype, is_tiled=is_tiled
        )
        self.projection = projection

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Return residual plus shortcut, in the input's dtype."""
        residual = self.prelu(self.conv1(x)).astype(x.dtype)
        stride = self.conv2.stride
        shortcut = x[:, ::stride, ::stride]
        if self.projection is not None:
            shortcut = convolution.direct(shortcut, self.projection[...])
        return (self.conv2(residual) + shortcut).astype(x.dtype)


class FoldedIRResNet(nnx.Module):
    """Stem and units of an IRResNet, for pictures of one size."""

    def __init__(
        self, network: IRResNet, size: int, *, dtype: DTypeLike, is_tiled: bool
    ):
        """Fold the network.

        Args:
            network: with the statistics to fold.
            size: rows and columns of the pictures.
            dtype: what convolutions multiply in, and what maps are kept in.
            is_tiled: use `convolution.tiled` and blocks, as is best on a CPU.
        """
        self.dtype = dtype
        self.is_tiled = is_tiled
        self.cells, self.stages = network.cells, network.stages
        self.num_features = network.num_features
        kernel, bias = _before_norm(_kernel(network.stem.conv), 0.0, network.stem.norm)
        self.stem = FoldedConv(kernel, bias, stride=1, dtype=dtype, is_tiled=False)
        self.prelu = PReLU(kernel.shape[-1])
        self.prelu.slope = network.stem.prelu.slope
        # The longest runs of units whose largest maps are of one size.
        self.runs = nnx.List()
        bytes_a_picture: list[int] = []
        ends = []  # the number of runs up to each stage's end
        for number, unit in enumerate(network.body):
            folded_unit = FoldedUnit(unit, size, dtype=dtype, is_tiled=is_tiled)
            largest = 4 * size * size * unit.conv1.out_features
            if bytes_a_picture[-1:] != [largest] or number in network.ends:
                self.runs.append(nnx.List())
                bytes_a_picture.append(largest)
            self.runs[-1].append(folded_unit)
            size = -(-size // unit.stride)
            if number + 1 in network.ends:
                ends.append(len(self.runs))
        self.bytes_a_picture = tuple(bytes_a_picture)
        self.ends = tuple(ends)

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch h w channels"]:
        """Return the feature maps of normalised pictures, in `dtype`."""
        return self.with_taps(x, {})[0]

    def with_taps(
        self, x: Float[Array, "batch height width 3"], taps: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch h w channels"], dict[str, Array]]:
        """Return the feature maps and tapped activations; see `through_stages`."""

        def run_one(number: int, x: Array) -> Array:
            if number == 0:
                x = self.prelu(self.stem(x)).astype(self.dtype)
            for unit in self.runs[number]:
                x = unit(x)
            return x

        def run(start: int, end: int, x: Array) -> Array:
            for number in range(start, end):
                one_run = functools.partial(run_one, number)
                num_bytes = self.bytes_a_picture[number]
                x = _in_blocks(one_run, x, num_bytes) if self.is_tiled else one_run(x)
            return x

        network = functools.partial(through_stages, self, run)
        if self.is_tiled:
            network = sharding.on_each_device(network)
        return network(x, taps)


def check_dtype(dtype: DTypeLike | None) -> None:
    """Raise InputError where convolutions in this dtype are not on offer."""
    name = dtype if isinstance(dtype, str | None) else jnp.dtype(dtype).name
    if name not in (None, *DTYPES):
        raise InputError(f"compute_dtype is {name!r}, expected {' or '.join(DTYPES)}")


def folded(
    model: FaceClassifier, *, dtype: DTypeLike | None = None, platform: str = ""
) -> FaceClassifier:
    """Return a model that answers as this one does, faster, and cannot be trained.

    Args:
        model: with the statistics its batch normalisation shall use.
        dtype: what convolutions multiply in, float32 or bfloat16; as the model does
            where None. Pooling, head and softmax are float32 either way.
        platform: "cpu", "gpu" or "tpu", what it is to run on; the mesh's where "".

    Raises:
        InputError: convolutions in this dtype are not on offer.
    """
    check_dtype(dtype)
    backbone = model.backbone
    if isinstance(backbone, IRResNet):
        backbone = FoldedIRResNet(
            backbone,
            model.spec.size,
            dtype=jnp.dtype(dtype or backbone.stem.conv.dtype),
            is_tiled=(platform or sharding.platform()) == "cpu",
        )
    elif dtype is not None:
        backbone = nnx.clone(backbone)
        for _, module in nnx.iter_graph(backbone):
            if isinstance(module, nnx.Conv):
                module.dtype = jnp.dtype(dtype)
    return FaceClassifier(model.spec, replicated(backbone), model.head)


def _in_blocks(f: Callable[[Array], Array], x: Array, bytes_a_picture: int) -> Array:
    """Return f(x), computed for as many pictures at a time as stay in the cache.

    Blocks are as equal as can be; what the last one lacks is filled up with zeros.
    """
    fitting = max(1, _BYTES_A_BLOCK // bytes_a_picture)
    num_blocks = -(-len(x) // fitting)
    if num_blocks <= 1:
        return f(x)
    size = -(-len(x) // num_blocks)
    missing = num_blocks * size - len(x)
    blocks = jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1)))
    y = jax.lax.map(f, blocks.reshape(num_blocks, size, *x.shape[1:]))
    return y.reshape(num_blocks * size, *y.shape[2:])[: len(x)]


def _kernel(conv: nnx.Conv) -> np.ndarray:
    return np.asarray(conv.kernel[...], np.float64)


def _scale_and_shift(norm: nnx.BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Return what the normalisation with its running statistics does to a channel."""
    assert norm.scale is not None and norm.bias is not None
    mean, variance, scale, shift = (
        np.asarray(array[...], np.float64)
        for array in (norm.mean, norm.var, norm.scale, norm.bias)
    )
    scale = scale / np.sqrt(variance + norm.epsilon)
    return scale, shift - scale * mean


def _before_norm(
    kernel: np.ndarray, bias: np.ndarray | float, norm: nnx.BatchNorm
) -> tuple[np.ndarray, np.ndarray]:
    """Return filters and bias of a convolution with the normalisation behind it."""
    scale, shift = _scale_and_shift(norm)
    return kernel * scale, bias * scale + shift


def _behind_norm(
    kernel: np.ndarray, norm: nnx.BatchNorm, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return filters and a bias of a 3x3 convolution with the normalisation before it.

    The bias is [size, size, outputs]: the convolution of a picture that is the shift
    everywhere, and zero beyond its border.
    """
    scale, shift = _scale_and_shift(norm)
    taps = np.einsum("ijco,c->ijo", kernel, shift)
    # Does the tap i of the filter at row y meet the picture? [size, 3]
    met = np.add.outer(np.arange(size), np.arange(-1, 2))
    met = ((met >= 0) & (met < size)).astype(np.float64)
    bias = np.einsum("yi,xj,ijo->yxo", met, met, taps)
    return kernel * scale[:, None], bias
