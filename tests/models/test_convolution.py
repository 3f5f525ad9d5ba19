import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.models import convolution


def loop(x, kernel, stride):
    """Sum products position by position, in float64."""
    batch, height, width, _ = x.shape
    size = kernel.shape[0]
    border = size // 2
    x = np.pad(x.astype(np.float64), [(0, 0), (border,) * 2, (border,) * 2, (0, 0)])
    rows, columns = range(0, height, stride), range(0, width, stride)
    y = np.zeros((batch, len(rows), len(columns), kernel.shape[-1]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = x[:, row : row + size, column : column + size]
            y[:, i, j] = np.tensordot(window, kernel, axes=3)
    return y


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


SHAPES = [(2, 6, 6, 3, 5), (1, 7, 7, 4, 8), (3, 5, 8, 2, 2), (1, 1, 1, 3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_give_the_sum_of_products(shape):
    batch, height, width, inputs, outputs = shape
    x, kernel = random((batch, height, width, inputs)), random((3, 3, inputs, outputs))
    tiled = convolution.tiled(
        jnp.asarray(x), jnp.asarray(convolution.tile_kernel(kernel), jnp.float32)
    )
    expected = loop(x, kernel, 1)
    assert tiled.shape == expected.shape
    np.testing.assert_allclose(tiled, expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_xlas_convolution_is_padded_alike_on_all_sides(size, stride):
    x, kernel = random((2, 6, 7, 3)), random((size, size, 3, 4))
    y = convolution.direct(jnp.asarray(x), jnp.asarray(kernel), stride=stride)
    expected = loop(x, kernel, stride)
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_tiles_round_no_worse_than_the_direct_sum():
    x, kernel = random((2, 14, 14, 256)), random((3, 3, 256, 64))
    exact = loop(x, kernel, 1)
    tile_kernel = jnp.asarray(convolution.tile_kernel(kernel), jnp.float32)
    of_tiles = np.abs(convolution.tiled(jnp.asarray(x), tile_kernel) - exact).max()
    of_sums = np.abs(convolution.direct(jnp.asarray(x), jnp.asarray(kernel)) - exact)
    assert of_tiles < 4 * of_sums.max()
    assert of_tiles < 2e-6 * np.abs(exact).max()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tiled", "direct"])
def test_bfloat16_products_are_summed_in_float32(form):
    # 2,048 products of ones: a bfloat16 sum would stop at 256.
    x = jnp.ones((1, 3, 3, 2048), jnp.bfloat16)
    kernel = np.zeros((3, 3, 2048, 1))
    kernel[1, 1] = 1
    if form == "tiled":
        kernel = jnp.asarray(convolution.tile_kernel(kernel), jnp.bfloat16)
        y = convolution.tiled(x, kernel)
    else:
        y = convolution.direct(x, jnp.asarray(kernel, jnp.bfloat16))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, 2048.0)


def test_tiles_multiply_less_than_half_as_often():
    x = jax.ShapeDtypeStruct((4, 14, 14, 64), jnp.float32)

    def flops(form, kernel):
        kernel = jax.ShapeDtypeStruct((*kernel, 64, 64), jnp.float32)
        cost = jax.jit(form).lower(x, kernel).compile().cost_analysis()
        assert cost is not None
        return cost["flops"]

    direct = flops(convolution.direct, (3, 3))
    assert flops(convolution.tiled, (4, 4)) < 0.55 * direct


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    convolution._options_exist.cache_clear()
    assert convolution.compiler_options("tpu") == {}
    monkeypatch.setattr(convolution, "_OPTIONS", {"xla_cpu_no_such": "1"})
    assert convolution.compiler_options("cpu") == {}
    convolution._options_exist.cache_clear()
