import jax
import jax.numpy as jnp
import pytest

from sdd_jax.runs.passes import num_multiplications

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))


def product(a, b):
    return a @ b


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (product, 3 * 4 * 5),
        (jax.jit(product), 60),
        (lambda a, b: a + 1, 0),
        (lambda a, b: jax.lax.map(lambda row: row @ b, a), 60),
        (
            lambda a, b: jax.lax.fori_loop(0, 7, lambda i, x: x + (a @ b).sum(), 0.0),
            420,
        ),
        (jax.value_and_grad(lambda a, b: (a @ b).sum()), 120),
        # The product itself is not asked for.
        (jax.grad(lambda a, b: (a @ b).sum()), 60),
        (lambda a, b: jax.lax.cond(a[0, 0] > 0, product, lambda a, b: b[:3], a, b), 60),
        (jax.checkpoint(product), 60),
    ],
)
def test_products_are_counted_wherever_they_stand(function, expected):
    assert num_multiplications(function, A, B) == expected


def test_a_convolution_counts_what_its_filters_multiply():
    images = jax.ShapeDtypeStruct((2, 9, 9, 3), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 3, 8), jnp.float32)

    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "VALID", dimension_numbers=numbers
        )

    # 4x4 places, 27 products for each of 8 features, two images.
    assert num_multiplications(convolve, images, kernel) == 2 * 16 * 8 * 27


def test_groups_of_channels_multiply_less():
    images = jax.ShapeDtypeStruct((1, 5, 5, 4), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 1, 4), jnp.float32)

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=4,
        )

    assert num_multiplications(convolve, images, kernel) == 9 * 4 * 9
