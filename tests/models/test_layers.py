import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.models.layers import (
    Conv,
    PReLU,
    batch_norm,
    conv1x1,
    conv3x3,
    spread,
)

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


SHAPES = [(3, 7, 7, 5), (2, 4, 6, 32), (1, 1, 1, 1)]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).normal(1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_by_a_spread_value_is_its_channels_sum(shape):
    gradient = drawn(shape)
    values = jnp.arange(shape[-1], dtype=jnp.float32)
    maps, backward = jax.vjp(lambda v: spread(v, shape, jnp.float32), values)
    np.testing.assert_array_equal(maps, np.broadcast_to(values, shape))
    expected = gradient.sum((0, 1, 2), dtype=np.float64)
    found = backward(jnp.asarray(gradient))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_many_bfloat16_gradients_are_summed_in_float32():
    # Their sum in bfloat16 would stop at 256.
    shape = (4, 32, 32, 2)
    maps, backward = jax.vjp(lambda v: spread(v, shape, jnp.bfloat16), jnp.ones(2))
    assert maps.dtype == jnp.bfloat16
    np.testing.assert_array_equal(backward(jnp.ones_like(maps))[0], [4096, 4096])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_running_average", [True, False])
def test_batch_norm_and_its_gradients_are_those_of_flax(dtype, use_running_average):
    norm = batch_norm(5, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    for name, values in zip(("scale", "bias", "mean", "var"), range(4), strict=True):
        getattr(norm, name)[...] = jnp.abs(drawn(5, values)) + 0.1
    x = jnp.asarray(drawn((3, 7, 7, 5)), dtype)

    def loss(call):
        def of_norm(norm, x):
            y = call(nnx.clone(norm), x, use_running_average=use_running_average)
            return (jnp.float32(y) * drawn(x.shape, 9)).sum()

        return nnx.grad(of_norm, argnums=(0, 1))(norm, x)

    found, expected = loss(type(norm).__call__), loss(nnx.BatchNorm.__call__)
    atol = 1e-5 if dtype == "float32" else 2e-2
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.float32(a), np.float32(b)
        np.testing.assert_allclose(a, b, atol=atol * np.abs(b).max())


def test_the_gradient_by_a_slope_counts_its_channels_negative_values():
    prelu, x = PReLU(5), drawn((3, 7, 7, 5)) - 1
    gradient = nnx.grad(lambda prelu: prelu(jnp.asarray(x)).sum())(prelu)
    expected = np.where(x < 0, np.float64(x), 0).sum((0, 1, 2))
    np.testing.assert_allclose(gradient.slope[...], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_convolutions_bias_and_gradients_are_those_of_flax():
    arguments = dict(strides=2, padding=0, rngs=nnx.Rngs(0))
    conv = Conv(3, 4, (3, 3), **arguments)
    plain = nnx.Conv(3, 4, (3, 3), **arguments)
    plain.kernel[...] = conv.kernel[...]
    for one in (conv, plain):
        assert one.bias is not None
        one.bias[...] = jnp.asarray(drawn(4))
    x = jnp.asarray(drawn((3, 7, 9, 3)))
    np.testing.assert_allclose(conv(x), plain(x), rtol=1e-6)
    found, expected = (nnx.grad(lambda c: (c(x) ** 2).sum())(c) for c in (conv, plain))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
