import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.models import depthwise as module
from sdd_jax.models.depthwise import depthwise


def drawn(size, dtype=np.float32):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, *size, 4)), rng.normal(size=(3, 3, 1, 4))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def plain(x, kernel, stride):
    """Return JAX's own grouped convolution, which it can differentiate."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def with_gradients(f, x, kernel):
    @jax.jit
    def run(x, kernel):
        y, backward = jax.vjp(f, x, kernel)
        return y, *backward(jnp.cos(y))

    return run(x, kernel)


@pytest.mark.slow
def test_a_cell_is_the_sum_of_its_nine_neighbours_times_the_filter():
    x = jnp.arange(1.0, 10).reshape(1, 3, 3, 1)
    kernel = 10.0 ** jnp.arange(9).reshape(3, 3, 1, 1)
    y = depthwise(x, kernel, 2)[0, :, :, 0]
    # Top left: zeros above and to the left, then 1, 2 and 4, 5.
    np.testing.assert_allclose(y[0, 0], 1e4 + 2e5 + 4e7 + 5e8)
    np.testing.assert_allclose(y[1, 1], 5 + 6e1 + 8e3 + 9e4)
    assert y.shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "stride"), [((6, 5), 1), ((6, 5), 2), ((1, 2), 2)])
def test_the_maps_and_both_gradients_are_those_of_jaxs_convolution(size, stride):
    arrays = drawn(size)
    expected = with_gradients(lambda x, k: plain(x, k, stride), *arrays)
    found = with_gradients(lambda x, k: depthwise(x, k, stride), *arrays)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_the_form_of_other_platforms_gives_the_same(monkeypatch):
    expected = with_gradients(lambda x, k: depthwise(x, k, 2), *drawn((4, 5)))

    def default(*arguments, cpu, default):
        return default(*arguments)

    monkeypatch.setattr(module.jax.lax, "platform_dependent", default)
    found = with_gradients(lambda x, k: depthwise(x, k, 2), *drawn((4, 5)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_bfloat16_maps_have_float32_sums_and_gradients_of_their_own_dtype():
    x, kernel = drawn((4, 4), jnp.bfloat16)
    y, by_x, by_kernel = with_gradients(depthwise, x, kernel)
    assert (y.dtype, by_x.dtype, by_kernel.dtype) == (jnp.float32, *[jnp.bfloat16] * 2)
    wide = depthwise(x.astype(jnp.float32), kernel.astype(jnp.float32))
    np.testing.assert_allclose(y, wide, rtol=1e-6, atol=1e-6)
