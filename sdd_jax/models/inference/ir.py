"""The inference form of the AdaFace family.

Batch normalisation with fixed statistics is x -> scale x + shift. Behind a convolution
both go into its filters and its bias. Before one, the scale goes into the filters; the
shift is a constant image, whose convolution is a bias, but for the border: there the
convolution sees zeros instead of the shift, so the bias is a map with a value for every
position. Nothing is approximated; folding is done in float64 on the host.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax.models import convolution
from sdd_jax.models.inference.parts import (
    Constant,
    FoldedConv,
    FoldedNetwork,
    FoldedStem,
    before_norm,
    kernel_of,
    same,
    scale_and_shift,
)
from sdd_jax.models.ir_resnet import IRResNet, Unit


class FoldedUnit(nnx.Module):
    """A residual unit: convolution, rectifier, convolution, beside the shortcut."""

    def __init__(self, unit: Unit, size: int, *, dtype: DTypeLike, is_tiled: bool):
        """Fold a unit whose input has `size` rows and columns."""
        kernel, bias = _behind_norm(kernel_of(unit.conv1), unit.norm1, size)
        kernel, bias = before_norm(kernel, bias, unit.norm2)
        self.conv1 = FoldedConv(kernel, bias, dtype=dtype, is_tiled=is_tiled)
        self.prelu = same(unit.prelu)
        kernel, bias = before_norm(kernel_of(unit.conv2), 0.0, unit.norm3)
        projection = None
        if unit.projection is not None:
            projected = unit.projection
            matrix, more = before_norm(kernel_of(projected.conv), 0.0, projected.norm)
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


class FoldedIRResNet(FoldedNetwork):
    """Stem and units of an IRResNet, for images of one size."""

    def __init__(
        self, network: IRResNet, size: int, *, dtype: DTypeLike, is_tiled: bool
    ):
        """Fold the network.

        Args:
            network: with the statistics to fold.
            size: rows and columns of the images.
            dtype: what convolutions multiply in, and what maps are kept in.
            is_tiled: use `convolution.tiled` and blocks, as is best on a CPU.
        """
        stem = FoldedStem(network.stem, dtype=dtype)
        parts: list[tuple[nnx.Module, int]] = [
            (stem, size * size * stem.conv.bias.shape[-1])
        ]
        for unit in network.body:
            largest = size * size * unit.conv1.out_features
            folded_unit = FoldedUnit(unit, size, dtype=dtype, is_tiled=is_tiled)
            parts.append((folded_unit, largest))
            size = -(-size // unit.stride)
        super().__init__(network, parts, dtype=dtype, is_tiled=is_tiled)


def _behind_norm(
    kernel: np.ndarray, norm: nnx.BatchNorm, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return filters and a bias of a 3x3 convolution with the normalisation before it.

    The bias is [size, size, outputs]: the convolution of an image that is the shift
    everywhere, and zero beyond its border.
    """
    scale, shift = scale_and_shift(norm)
    taps = np.einsum("ijco,c->ijo", kernel, shift)
    # Does the tap i of the filter at row y meet the image? [size, 3]
    met = np.add.outer(np.arange(size), np.arange(-1, 2))
    met = ((met >= 0) & (met < size)).astype(np.float64)
    bias = np.einsum("yi,xj,ijo->yxo", met, met, taps)
    return kernel * scale[:, None], bias
