"""dlib's face recognition network: normalised images -> feature maps.

Input is float32, [batch, height, width, 3], RGB, already (pixel - mean) / scale as in
`INPUT`; output is the maps after the last residual block, after its ReLU. What follows
in the published network, an average over positions and a matrix to 128 dimensions, is
a head's business. Every convolution has a bias: the affine layers of the published
network are part of the filters here, so there are no statistics and no training mode.

References:
    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016:
    the 34-layer network, which D. King thinned and trained for dlib 19.3 (2017).
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from sdd_jax.errors import InputError
from sdd_jax.models.layers import Conv, chain, through_stages
from sdd_jax.types import CellGrid, InputSpec, Stage

INPUT = InputSpec(
    size=150, colour_order="RGB", mean=(122.782, 117.001, 104.298), scale=256.0
)
STEM_FEATURES = 32
# Of each residual block: features, and stride and padding of its first convolution.
BLOCKS = (
    *[(32, 1, 1)] * 3,
    *[(64, 2, 0), (64, 1, 1), (64, 1, 1), (64, 1, 1)],
    *[(128, 2, 0), (128, 1, 1), (128, 1, 1)],
    *[(256, 2, 0), (256, 1, 1), (256, 1, 1)],
    (256, 2, 0),
)


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut that has no parameters."""

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        stride: int,
        padding: int,
        rngs: nnx.Rngs,
    ):
        """Make the convolutions; stride and padding are those of the first."""
        self.stride, self.padding = stride, padding
        self.conv1 = Conv(
            in_features, features, (3, 3), strides=stride, padding=padding, rngs=rngs
        )
        self.conv2 = Conv(features, features, (3, 3), padding=1, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width in_features"]
    ) -> Float[Array, "batch h w features"]:
        """Return the block's feature maps."""
        residual = self.conv2(nnx.relu(self.conv1(x)))
        return rectified_sum(residual, x, stride=self.stride)


class DlibResNet(nnx.Module):
    """The stem and the first `num_blocks` of the 14 residual blocks.

    For images of 150 pixels, 10 blocks give 8x8 cells, all 14 give 2x2.
    """

    def __init__(self, *, num_blocks: int = len(BLOCKS), rngs: nnx.Rngs):
        """Make the layers, and follow the centres of their cells.

        Raises:
            InputError: the published network does not have that many blocks.
        """
        if not 1 <= num_blocks <= len(BLOCKS):
            raise InputError(
                f"num_blocks={num_blocks}: dlib's network has {len(BLOCKS)} residual "
                f"blocks, choose 1 to {len(BLOCKS)}"
            )
        self.remat = False  # training may set it; it changes memory, no number
        self.stem = Conv(3, STEM_FEATURES, (7, 7), strides=2, padding=0, rngs=rngs)
        cells = _behind(CellGrid(0.0, 1.0), window=7, stride=2, padding=0)
        cells = _behind(cells, window=3, stride=2, padding=0)
        self.blocks = nnx.List()
        in_features = STEM_FEATURES
        ends: dict[float, tuple[CellGrid, int]] = {}  # of the blocks of one width
        for features, stride, padding in BLOCKS[:num_blocks]:
            self.blocks.append(
                ResidualBlock(
                    in_features, features, stride=stride, padding=padding, rngs=rngs
                )
            )
            cells = _behind(cells, window=3, stride=stride, padding=padding)
            cells = _behind(cells, window=3, stride=1, padding=1)
            in_features = features
            ends[cells.stride] = cells, len(self.blocks)
        self.num_features = in_features
        self.cells = cells
        self.stages = tuple(
            Stage(f"stage{number}", cells)
            for number, (cells, _) in enumerate(ends.values(), 1)
        )
        self.ends = tuple(end for _, end in ends.values())

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
        x = nnx.relu(self.stem(x))
        x = max_pool(x)

        def run(start: int, end: int, x: Array) -> Array:
            return chain(list(self.blocks)[start:end], x, remat=self.remat)

        return through_stages(self, run, x, taps)


def _behind(cells: CellGrid, *, window: int, stride: int, padding: int) -> CellGrid:
    """Return where the outputs of a sliding window over these cells have their centre.

    A block's shortcut looks at fewer pixels than its convolutions, inside of what they
    see, so the convolutions alone decide where the whole field of view is centred.
    """
    return CellGrid(
        offset=cells.offset + cells.stride * ((window - 1) / 2 - padding),
        stride=cells.stride * stride,
    )


def max_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch h w channels"]:
    """Return the largest of every 3x3 cells, two apart.

    On a CPU as a maximum of slices, which XLA runs nine times as fast; of equal cells
    each then gets a part of the gradient.
    """

    def whole(x: Array) -> Array:
        return nnx.max_pool(x, (3, 3), strides=(2, 2))

    def along(axis: int, x: Array) -> Array:
        last = x.shape[axis] - 2  # where the last window may begin
        slices = (
            jax.lax.slice_in_dim(x, start, last + start, 2, axis) for start in range(3)
        )
        return functools.reduce(jnp.maximum, slices)

    def sliced(x: Array) -> Array:
        return along(2, along(1, x))

    return jax.lax.platform_dependent(x, cpu=sliced, default=whole)


def rectified_sum(
    residual: Float[Array, "batch ha wa ca"],
    x: Float[Array, "batch hb wb cb"],
    *,
    stride: int,
) -> Float[Array, "batch h w c"]:
    """Return what a block makes of its residual and of its input."""
    window = (stride, stride)
    shortcut = x if stride == 1 else nnx.avg_pool(x, window, window)
    return nnx.relu(_add(residual, shortcut))


def _add(
    a: Float[Array, "batch ha wa ca"], b: Float[Array, "batch hb wb cb"]
) -> Float[Array, "batch h w c"]:
    """Return the sum; the smaller one is filled up with zeros at the end of each axis.

    Neither need be the smaller one: a stride-2 block widens the channels, but its
    unpadded convolution may come out a row and a column short of the shortcut.
    """
    shape = [max(sizes) for sizes in zip(a.shape, b.shape, strict=True)]
    fill_a, fill_b = (
        [(0, whole - part) for whole, part in zip(shape, x.shape, strict=True)]
        for x in (a, b)
    )
    return jnp.pad(a, fill_a) + jnp.pad(b, fill_b)
