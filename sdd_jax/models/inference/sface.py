"""The inference form of SFace's network: convolutions with a bias, and rectifiers.

Every normalisation stands behind a convolution, and goes into its filters and its bias.
Nothing is approximated; folding is done in float64 on the host.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax.models.depthwise import depthwise
from sdd_jax.models.inference.parts import (
    Constant,
    FoldedConv,
    FoldedNetwork,
    FoldedStem,
    before_norm,
    kernel_of,
    same,
)
from sdd_jax.models.sface import STEM_FEATURES, Block, SFaceNet


class FoldedDepthwise(nnx.Module):
    """A 3x3 convolution of each channel alone, plus bias."""

    def __init__(
        self,
        kernel: Float[np.ndarray, "3 3 1 channels"],
        bias: Float[np.ndarray, " channels"],
        *,
        stride: int,
        dtype: DTypeLike,
    ):
        """Keep the filters in `dtype`, the bias in float32."""
        self.stride = stride
        self.kernel = Constant(jnp.asarray(kernel, dtype))
        self.bias = Constant(jnp.asarray(bias, jnp.float32))

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch h w channels"]:
        """Return float32 maps."""
        kernel = self.kernel[...]
        return depthwise(x.astype(kernel.dtype), kernel, self.stride) + self.bias[...]


class FoldedBlock(nnx.Module):
    """Depthwise convolution, rectifier, 1x1 convolution, rectifier."""

    def __init__(self, block: Block, *, dtype: DTypeLike):
        """Fold a block."""
        kernel, bias = before_norm(kernel_of(block.conv1), 0.0, block.norm1)
        stride = block.conv1.stride
        self.conv1 = FoldedDepthwise(kernel, bias, stride=stride, dtype=dtype)
        self.prelu1 = same(block.prelu1)
        kernel, bias = before_norm(kernel_of(block.conv2), 0.0, block.norm2)
        self.conv2 = FoldedConv(kernel, bias, dtype=dtype, is_tiled=False)
        self.prelu2 = same(block.prelu2)

    def __call__(
        self, x: Float[Array, "batch height width in_features"]
    ) -> Float[Array, "batch h w features"]:
        """Return the block's feature maps, float32."""
        return self.prelu2(self.conv2(self.prelu1(self.conv1(x))))


class FoldedSFaceNet(FoldedNetwork):
    """Stem and blocks of a SFaceNet, for images of one size."""

    def __init__(
        self, network: SFaceNet, size: int, *, dtype: DTypeLike, is_tiled: bool
    ):
        """Fold the network.

        Args:
            network: with the statistics to fold.
            size: rows and columns of the images.
            dtype: what convolutions multiply in, and what maps are kept in.
            is_tiled: run in blocks, as is best on a CPU.
        """
        stem = FoldedStem(network.stem, dtype=dtype)
        parts: list[tuple[nnx.Module, int]] = [(stem, size**2 * STEM_FEATURES)]
        for block in network.blocks:
            largest = size**2 * block.conv2.in_features
            size = -(-size // block.conv1.stride)
            largest = max(largest, size**2 * block.conv2.out_features)
            parts.append((FoldedBlock(block, dtype=dtype), largest))
        super().__init__(network, parts, dtype=dtype, is_tiled=is_tiled)
