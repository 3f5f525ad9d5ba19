import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.models import constants, inference
from sdd_jax.models.inference.sface import FoldedDepthwise, FoldedSFaceNet
from sdd_jax.models.sface import BLOCKS, SFaceNet
from sdd_jax.types import CellGrid


@pytest.mark.slow
@pytest.mark.parametrize(("num_blocks", "cells", "stages"), [(13, 7, 4), (2, 56, 1)])
def test_every_depth_has_the_published_shape(num_blocks, cells, stages):
    network = nnx.eval_shape(lambda: SFaceNet(num_blocks=num_blocks, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(nnx.view(network, use_running_average=True))
    images = jax.ShapeDtypeStruct((2, 112, 112, 3), jnp.float32)
    taps = {stage.name: jnp.zeros(()) for stage in network.stages}
    maps, activations = jax.eval_shape(
        lambda s, x: nnx.merge(graphdef, s).with_taps(x, taps), state, images
    )
    assert maps.shape == (2, cells, cells, network.num_features)
    assert [x.shape[1] for x in activations.values()] == [56, 28, 14, 7][:stages]
    assert network.cells == CellGrid(56 / cells - 0.5, 112 / cells)


def test_parameters_are_counted_by_hand():
    network = nnx.eval_shape(lambda: SFaceNet(rngs=nnx.Rngs(0)))
    widths = [32, *[features for features, _ in BLOCKS]]
    # Filters, and each layer's four numbers of a normalisation and its slope.
    expected = 27 * 32 + 5 * 32
    for before, after in zip(widths, widths[1:], strict=False):
        expected += 9 * before + 5 * before + before * after + 5 * after
    leaves = jax.tree.leaves(nnx.state(network))
    assert sum(leaf.size for leaf in leaves) == expected


@pytest.mark.parametrize("num_blocks", [1, 14])
def test_a_depth_the_network_does_not_have_is_refused(num_blocks):
    with pytest.raises(InputError, match="choose 2 to 13"):
        SFaceNet(num_blocks=num_blocks, rngs=nnx.Rngs(0))


@pytest.mark.slow
@pytest.mark.parametrize("is_tiled", [True, False])
def test_the_folded_network_answers_as_the_network_at_any_size(is_tiled):
    network = randomised(SFaceNet(num_blocks=3, rngs=nnx.Rngs(0)))
    network = nnx.view(network, use_running_average=True)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 9, 9, 3)), jnp.float32)
    folded = FoldedSFaceNet(network, 9, dtype=jnp.float32, is_tiled=is_tiled)
    assert not jax.tree.leaves(nnx.state(folded, nnx.BatchStat))
    tap = {"stage1": jnp.zeros((2, 5, 5, 128))}

    def maps_and_gradients(network):
        def run(x, tap):
            return network.with_taps(x, tap)[0]

        maps, backward = jax.vjp(run, x, tap)
        return maps, *backward(jnp.cos(maps))

    found, expected = (
        jax.tree.leaves(jax.jit(maps_and_gradients)(form)) for form in (folded, network)
    )
    for a, b in zip(found, expected, strict=True):
        largest = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)


@pytest.mark.slow
def test_a_model_is_folded_in_its_own_dtype_or_in_another():
    backbone = {"name": "sface", "num_blocks": 2, "dtype": "bfloat16"}
    head = {"name": "pooled", "num_classes": 3}
    model = nnx.clone(models.build({"backbone": backbone, "head": head}))
    for dtype, expected in ((None, jnp.bfloat16), ("float32", jnp.float32)):
        folded = inference.folded(model, dtype=dtype).backbone
        assert isinstance(folded, FoldedSFaceNet)
        assert folded.dtype == expected
        assert folded.stages == model.stages and folded.cells == model.cells


def test_a_folded_depthwise_convolution_has_its_bias_as_constant():
    kernel, bias = np.zeros((3, 3, 1, 2)), np.array([3.0, -1.0])
    layer = FoldedDepthwise(kernel, bias, stride=1, dtype=jnp.float32)
    np.testing.assert_array_equal(constants.constant_of(layer), bias)
    np.testing.assert_array_equal(layer(jnp.ones((1, 1, 1, 2)))[0, 0, 0], bias)
