import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.models.layers import PReLU, batch_norm, conv1x1, conv3x3

SQUARE = jnp.arange(16.0).reshape(1, 4, 4, 1)


def test_conv3x3_pads_one_row_and_column_on_every_side_when_it_strides():
    conv = conv3x3(1, 1, stride=2, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.ones((3, 3, 1, 1))

    # Rows and columns -1..1 and 1..3; "SAME" would sum 0..2 and 2..4 instead.
    expected = [[0 + 1 + 4 + 5, 1 + 2 + 3 + 5 + 6 + 7], [51, 90]]
    np.testing.assert_array_equal(conv(SQUARE)[0, :, :, 0], expected)


def test_conv3x3_keeps_the_size_without_stride():
    maps = jax.eval_shape(lambda: conv3x3(1, 5, rngs=nnx.Rngs(0))(SQUARE))
    assert maps.shape == (1, 4, 4, 5)


def test_conv1x1_mixes_the_channels_of_each_cell_alone():
    conv = conv1x1(2, 3, rngs=nnx.Rngs(0))
    kernel = jnp.array([[1.0, 2, 3], [10, 20, 30]])
    conv.kernel[...] = kernel[None, None]
    x = jnp.arange(8.0).reshape(1, 2, 2, 2)

    np.testing.assert_array_equal(conv(x), x @ kernel)


@pytest.mark.parametrize("conv", [conv3x3, conv1x1])
def test_convolutions_have_no_bias(conv):
    layer = nnx.eval_shape(lambda: conv(1, 2, rngs=nnx.Rngs(0)))
    assert nnx.to_pure_dict(nnx.state(layer)).keys() == {"kernel"}


def test_prelu_scales_negative_values_by_the_slope_of_their_channel():
    prelu = PReLU(2)
    np.testing.assert_array_equal(prelu.slope[...], [0.25, 0.25])
    prelu.slope[...] = jnp.array([0.5, 2.0])
    x = jnp.array([[-1.0, -1.0], [3.0, 3.0], [0.0, -4.0]]).reshape(1, 3, 1, 2)

    expected = [[-0.5, -2.0], [3.0, 3.0], [0.0, -8.0]]
    np.testing.assert_array_equal(prelu(x).reshape(3, 2), expected)


def test_prelu_slopes_learn_from_negative_values_only():
    x = jnp.array([[-1.0, -1.0], [3.0, 3.0], [0.0, -4.0]]).reshape(1, 3, 1, 2)
    graphdef, state = nnx.split(PReLU(2))

    gradient = jax.grad(lambda state: nnx.merge(graphdef, state)(x).sum())(state)

    np.testing.assert_array_equal(gradient["slope"][...], [-1.0, -5.0])


def test_batch_norm_keeps_nine_tenths_of_its_running_statistics():
    norm = batch_norm(1, rngs=nnx.Rngs(0))
    norm(jnp.array([8.0, 12.0]).reshape(2, 1, 1, 1))  # mean 10, biased variance 4

    np.testing.assert_allclose(norm.mean[...], [0.9 * 0 + 0.1 * 10], rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], [0.9 * 1 + 0.1 * 4], rtol=1e-6)


def test_batch_norm_adds_its_epsilon_to_the_running_variance():
    norm = nnx.view(batch_norm(1, rngs=nnx.Rngs(0)), use_running_average=True)
    norm.mean[...], norm.var[...] = jnp.array([2.0]), jnp.array([3e-5])
    assert norm.scale is not None and norm.bias is not None
    norm.scale[...], norm.bias[...] = jnp.array([4.0]), jnp.array([5.0])
    x = jnp.full((1, 1, 1, 1), 2.02)

    expected = 4 * 0.02 / np.sqrt(3e-5 + 1e-5) + 5  # 17.649...
    np.testing.assert_allclose(norm(x).item(), expected, rtol=1e-5)


def test_batch_norm_without_affine_has_statistics_only():
    norm = batch_norm(3, affine=False, rngs=nnx.Rngs(0))
    assert nnx.to_pure_dict(nnx.state(norm)).keys() == {"mean", "var"}


@pytest.mark.parametrize("layer", [conv3x3, conv1x1])
def test_convolutions_compute_in_bfloat16_from_float32_kernels(layer):
    conv = layer(1, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert conv.kernel[...].dtype == jnp.float32
    assert conv(SQUARE).dtype == jnp.bfloat16


def test_batch_norm_in_bfloat16_keeps_float32_statistics():
    norm = batch_norm(1, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jnp.full((2, 1, 1, 1), 1.0, jnp.bfloat16).at[0].set(3)

    assert norm(x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(norm))} == {
        jnp.dtype("float32")
    }
    # 0.2 rounded to bfloat16 would be 0.2002.
    np.testing.assert_allclose(norm.mean[...], [0.2], rtol=1e-6)


def test_prelu_keeps_bfloat16():
    assert PReLU(1)(-SQUARE.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_a_fresh_prelu_compiles_as_a_loaded_one_does():
    # A weakly typed slope would compile the program a second time after loading.
    assert not PReLU(1).slope[...].weak_type
