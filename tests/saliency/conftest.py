"""A network of two stages, small enough for thousands of passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx


class TwoStages(nnx.Module):
    """17x17 pixels -> 4x4 cells of 4 channels -> 3x3 cells of 5 features."""

    num_features = 5
    ends = (1, 2)

    def __init__(self, stages, kernels):
        self.stages = stages
        self.kernels = nnx.List([nnx.Param(kernel) for kernel in kernels])

    @property
    def cells(self):
        return self.stages[-1].cells

    def __call__(self, x):
        return self.with_taps(x, {})[0]

    def with_taps(self, x, taps):
        from sdd_jax.models.layers import through_stages

        return through_stages(self, self.run, x, taps)

    def run(self, start, end, x):
        for part in range(start, end):
            x = jax.lax.conv_general_dilated(
                x,
                self.kernels[part][...],
                window_strides=((4, 4), (1, 1))[part],
                padding="VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x = jax.nn.relu(x)
        return x


@pytest.fixture(scope="session")
def staged(classifier):
    """The classifier's head on a network of two stages, `first` and `last`."""
    from sdd_jax.models.classifier import FaceClassifier
    from sdd_jax.types import CellGrid, Stage

    rng = np.random.default_rng(3)
    kernels = [
        jnp.asarray(rng.normal(0, 0.2, shape), jnp.float32)
        for shape in ((5, 5, 3, 4), (2, 2, 4, 5))
    ]
    stages = Stage("first", CellGrid(2.0, 4.0)), Stage("last", CellGrid(4.0, 4.0))
    backbone = TwoStages(nnx.static(stages), kernels)
    return FaceClassifier(classifier.spec, backbone, classifier.head)
