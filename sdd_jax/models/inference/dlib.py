"""The inference form of dlib's network: it has no normalisation, but a faster CPU form.

The stem's pooling is a maximum of slices there, which XLA runs nine times as fast.
"""

from typing import Any

import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax.models.dlib_resnet import (
    STEM_FEATURES,
    DlibResNet,
    ResidualBlock,
    max_pool,
    rectified_sum,
)
from sdd_jax.models.inference.parts import FoldedConv, FoldedNetwork, kernel_of


class FoldedStem(nnx.Module):
    """Convolution, rectifier, pooling."""

    def __init__(self, conv: nnx.Conv, *, dtype: DTypeLike, is_tiled: bool):
        """Keep the filters in `dtype`."""
        self.conv = _folded(conv, stride=2, padding=0, dtype=dtype, is_tiled=is_tiled)

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch h w channels"]:
        """Return the first feature maps, float32."""
        x = nnx.relu(self.conv(x))
        return max_pool(x)


class FoldedBlock(nnx.Module):
    """Two convolutions beside a shortcut that has no parameters."""

    def __init__(self, block: ResidualBlock, *, dtype: DTypeLike, is_tiled: bool):
        """Keep the filters in `dtype`."""
        form = dict(dtype=dtype, is_tiled=is_tiled)
        stride, padding = block.stride, block.padding
        self.conv1 = _folded(block.conv1, stride=stride, padding=padding, **form)
        self.conv2 = _folded(block.conv2, stride=1, padding=1, **form)

    def __call__(
        self, x: Float[Array, "batch height width in_features"]
    ) -> Float[Array, "batch h w features"]:
        """Return the block's feature maps, float32."""
        residual = nnx.relu(self.conv1(x)).astype(x.dtype)
        return rectified_sum(self.conv2(residual), x, stride=self.conv1.stride)


class FoldedDlibResNet(FoldedNetwork):
    """Stem and blocks of a DlibResNet, for images of one size."""

    def __init__(
        self, network: DlibResNet, size: int, *, dtype: DTypeLike, is_tiled: bool
    ):
        """Fold the network.

        Args:
            network: with the filters.
            size: rows and columns of the images.
            dtype: what convolutions multiply in, and what maps are kept in.
            is_tiled: use `convolution.tiled` and blocks, as is best on a CPU.
        """
        form = dict(dtype=dtype, is_tiled=is_tiled)
        cells = (size - 7) // 2 + 1
        stem = FoldedStem(network.stem, **form)
        parts: list[tuple[nnx.Module, int]] = [(stem, cells**2 * STEM_FEATURES)]
        cells = (cells - 3) // 2 + 1
        for block in network.blocks:
            largest = cells**2 * block.conv1.in_features
            cells = -(-cells // block.stride)
            largest = max(largest, cells**2 * block.conv1.out_features)
            parts.append((FoldedBlock(block, **form), largest))
        super().__init__(network, parts, **form)


def _folded(conv: nnx.Conv, **options: Any) -> FoldedConv:
    assert conv.bias is not None
    return FoldedConv(kernel_of(conv), np.asarray(conv.bias[...]), **options)
