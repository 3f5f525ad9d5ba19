"""The residual networks of ArcFace and AdaFace ("improved residual", IR).

Input: [batch, height, width, 3], normalised as INPUT says; height and width are
multiples of 16, or the maps are rounded up. Output: the feature maps of the last unit,
[batch, height / 16, width / 16, num_features], in `dtype`. The layer that turns maps
into an embedding is `embedding_heads.FlatEmbedding`, not part of the network.

References:
    Deng, Guo, Xue, Zafeiriou. ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition. CVPR 2019 (the residual units).
    Kim, Jain, Liu. AdaFace: Quality Adaptive Margin for Face Recognition. CVPR 2022.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax.errors import InputError
from sdd_jax.models.layers import (
    PReLU,
    Stem,
    batch_norm,
    chain,
    conv1x1,
    conv3x3,
    through_stages,
)
from sdd_jax.types import CellGrid, InputSpec, Stage

# The order of AdaFace's own checkpoints; CVLface publishes these networks for RGB.
INPUT = InputSpec(size=112, colour_order="BGR", mean=(127.5,) * 3, scale=127.5)

# (units, channels) of the four stages; each stage halves the maps.
ARCHITECTURES = {
    "ir_tiny": ((1, 8), (1, 8), (1, 16), (1, 32)),  # for tests
    "ir_18": ((2, 64), (2, 128), (2, 256), (2, 512)),
    "ir_34": ((3, 64), (4, 128), (6, 256), (3, 512)),
    "ir_50": ((3, 64), (4, 128), (14, 256), (3, 512)),
    "ir_101": ((3, 64), (13, 128), (30, 256), (3, 512)),
}


class Projection(nnx.Module):
    """A shortcut between different numbers of channels."""

    def __init__(
        self, in_features: int, out_features: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        """Draw the parameters."""
        self.conv = conv1x1(in_features, out_features, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(out_features, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch height width out_channels"]:
        """Return the channels that the residual is added to."""
        return self.norm(self.conv(x))


class Unit(nnx.Module):
    """Residual unit that begins with normalisation and strides in the second conv."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        stride: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters."""
        self.stride = stride
        self.norm1 = batch_norm(in_features, dtype=dtype, rngs=rngs)
        self.conv1 = conv3x3(in_features, out_features, dtype=dtype, rngs=rngs)
        self.norm2 = batch_norm(out_features, dtype=dtype, rngs=rngs)
        self.prelu = PReLU(out_features)
        self.conv2 = conv3x3(
            out_features, out_features, stride=stride, dtype=dtype, rngs=rngs
        )
        self.norm3 = batch_norm(out_features, dtype=dtype, rngs=rngs)
        self.projection = (
            None
            if in_features == out_features
            else Projection(in_features, out_features, dtype=dtype, rngs=rngs)
        )

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Return residual plus shortcut; no rectifier follows the sum."""
        residual = self.prelu(self.norm2(self.conv1(self.norm1(x))))
        residual = self.norm3(self.conv2(residual))
        # Picking every stride-th cell first is what a strided 1x1 convolution does.
        shortcut = x[:, :: self.stride, :: self.stride]
        if self.projection is not None:
            shortcut = self.projection(shortcut)
        return residual + shortcut


class IRResNet(nnx.Module):
    """Stem and units of a network of ARCHITECTURES."""

    # The half-pixel rule: the maps divide the image into equal squares. The window
    # of the last maps' cell i is centred 7.5 pixels nearer to the top left, at 16 i:
    # every strided convolution starts at its input's first cell.
    stages = tuple(
        Stage(f"stage{number}", CellGrid((2.0**number - 1) / 2, 2.0**number))
        for number in range(1, 5)
    )
    cells = stages[-1].cells

    def __init__(self, *, arch: str, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Draw the parameters.

        Args:
            arch: a name in ARCHITECTURES.
            dtype: what is computed in; the parameters are float32.

        Raises:
            InputError: the name is unknown.
        """
        if arch not in ARCHITECTURES:
            raise InputError(
                f"unknown architecture {arch!r}: "
                f"choose one of {', '.join(ARCHITECTURES)}"
            )
        self.remat = False  # training may set it; it changes memory, no number
        stages = ARCHITECTURES[arch]
        in_features = stages[0][1]
        self.stem = Stem(in_features, dtype=dtype, rngs=rngs)
        self.body = nnx.List()
        ends = []
        for num_units, out_features in stages:
            for index in range(num_units):
                stride = 2 if index == 0 else 1
                self.body.append(
                    Unit(
                        in_features, out_features, stride=stride, dtype=dtype, rngs=rngs
                    )
                )
                in_features = out_features
            ends.append(len(self.body))
        self.ends = tuple(ends)
        self.num_features = in_features

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch h w channels"]:
        """Return the feature maps of normalised images."""
        return self.with_taps(x, {})[0]

    def with_taps(
        self, x: Float[Array, "batch height width 3"], taps: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch h w channels"], dict[str, Array]]:
        """Return the feature maps and tapped activations; see `through_stages`."""

        def run(start: int, end: int, x: Array) -> Array:
            return chain(list(self.body)[start:end], x, remat=self.remat)

        return through_stages(self, run, self.stem(x), taps)
