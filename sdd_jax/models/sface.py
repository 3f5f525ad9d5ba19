"""SFace's network as OpenCV publishes it: a MobileNet with learnt rectifiers.

Input: [batch, height, width, 3], RGB, normalised as INPUT says; height and width are
multiples of 16, or the maps are rounded up. Output: the feature maps of the last block,
[batch, height / 16, width / 16, num_features], in `dtype`. The layer that turns maps
into an embedding is `embedding_heads.FlatEmbedding`, not part of the network.

References:
    Zhong, Deng, Hu, Zhao, Li, Wen. SFace: Sigmoid-Constrained Hypersphere Loss for
    Robust Face Recognition. IEEE Transactions on Image Processing 30, 2021 (the loss).
    Howard et al. MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications. 2017, table 1 (the blocks).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sdd_jax.errors import InputError
from sdd_jax.models.depthwise import depthwise
from sdd_jax.models.layers import (
    PReLU,
    Stem,
    batch_norm,
    chain,
    conv1x1,
    through_stages,
)
from sdd_jax.types import CellGrid, InputSpec, Stage

# Faces are to be aligned to ArcFace's template of 112 x 112.
INPUT = InputSpec(size=112, colour_order="RGB", mean=(127.5,) * 3, scale=128.0)
STEM_FEATURES = 32
EPSILON = 1e-3  # of every normalisation of the network
# Of each block: features, and the stride of its depthwise convolution.
BLOCKS = (
    (64, 1),
    *[(128, 2), (128, 1)],
    *[(256, 2), (256, 1)],
    *[(512, 2), *[(512, 1)] * 5],
    *[(1024, 2), (1024, 1)],
)


class DepthwiseConv(nnx.Module):
    """A 3x3 convolution of each channel alone, without bias."""

    def __init__(
        self, num_features: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        """Draw the filters."""
        self.stride, self.dtype = stride, dtype
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (3, 3, 1, num_features)))

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch h w channels"]:
        """Return the maps, in `dtype`."""
        kernel = self.kernel[...].astype(self.dtype)
        return depthwise(x.astype(self.dtype), kernel, self.stride).astype(self.dtype)


class Block(nnx.Module):
    """Each channel alone, then each cell alone; both normalised and rectified."""

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        stride: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Draw the parameters; the stride is that of the depthwise convolution."""
        options = dict(dtype=dtype, rngs=rngs)
        self.conv1 = DepthwiseConv(in_features, stride=stride, **options)
        self.norm1 = batch_norm(in_features, epsilon=EPSILON, **options)
        self.prelu1 = PReLU(in_features)
        self.conv2 = conv1x1(in_features, features, **options)
        self.norm2 = batch_norm(features, epsilon=EPSILON, **options)
        self.prelu2 = PReLU(features)

    def __call__(
        self, x: Float[Array, "batch height width in_features"]
    ) -> Float[Array, "batch h w features"]:
        """Return the block's feature maps."""
        x = self.prelu1(self.norm1(self.conv1(x)))
        return self.prelu2(self.norm2(self.conv2(x)))


class SFaceNet(nnx.Module):
    """The stem and the first `num_blocks` of the 13 blocks.

    For images of 112 pixels, all of them give 7x7 cells, 11 give 14x14.
    """

    def __init__(
        self,
        *,
        num_blocks: int = len(BLOCKS),
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make the layers.

        Args:
            num_blocks: how deep the network is.
            dtype: what is computed in; the parameters are float32.
            rngs: draws the parameters.

        Raises:
            InputError: the published network does not have that many blocks.
        """
        if not 2 <= num_blocks <= len(BLOCKS):
            raise InputError(
                f"num_blocks={num_blocks}: SFace's network has {len(BLOCKS)} blocks, "
                f"choose 2 to {len(BLOCKS)}"
            )
        self.remat = False  # training may set it; it changes memory, no number
        self.stem = Stem(STEM_FEATURES, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List()
        in_features, step = STEM_FEATURES, 1
        ends: dict[int, int] = {}  # of the blocks whose cells lie so far apart
        for features, stride in BLOCKS[:num_blocks]:
            block = Block(in_features, features, stride=stride, dtype=dtype, rngs=rngs)
            self.blocks.append(block)
            in_features, step = features, step * stride
            ends[step] = len(self.blocks)
        del ends[1]  # the first block, at the image's own size, is part of stage 1
        self.num_features = in_features
        # The half-pixel rule, as for `ir_resnet`: measured by swapping squares.
        self.stages = tuple(
            Stage(f"stage{number}", CellGrid((step - 1) / 2, float(step)))
            for number, step in enumerate(ends, 1)
        )
        self.cells = self.stages[-1].cells
        self.ends = tuple(ends.values())

    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch h w features"]:
        """Return the feature maps of normalised images."""
        return self.with_taps(x, {})[0]

    def with_taps(
        self, x: Float[Array, "batch height width 3"], taps: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch h w features"], dict[str, Array]]:
        """Return the feature maps and tapped activations; see `through_stages`.

        A stage are the blocks whose cells lie equally close.
        """
        x = self.stem(x)

        def run(start: int, end: int, x: Array) -> Array:
            return chain(list(self.blocks)[start:end], x, remat=self.remat)

        return through_stages(self, run, x, taps)
