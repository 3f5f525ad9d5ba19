import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.training.losses import cross_entropy

# Probabilities 1/4 and 3/4.
LOGITS = np.log(np.array([[1, 3], [1, 3]], np.float32))


def test_the_loss_of_each_image_is_minus_the_log_of_its_class_probability():
    losses = cross_entropy(jnp.array(LOGITS), jnp.array([0, 1]))
    np.testing.assert_allclose(losses, [math.log(4), math.log(4 / 3)], rtol=1e-6)


def test_smoothing_spreads_its_share_over_all_classes():
    losses = cross_entropy(jnp.array(LOGITS), jnp.array([0, 1]), label_smoothing=0.2)
    # The target is 0.8 + 0.2 / 2 for the true class and 0.2 / 2 for the other.
    expected = [
        0.9 * math.log(4) + 0.1 * math.log(4 / 3),
        0.1 * math.log(4) + 0.9 * math.log(4 / 3),
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_equal_logits_lose_the_log_of_the_number_of_classes(label_smoothing):
    losses = cross_entropy(
        jnp.full((3, 530), 7.0), jnp.array([0, 5, 529]), label_smoothing=label_smoothing
    )
    np.testing.assert_allclose(losses, math.log(530), rtol=1e-6)


def test_low_precision_logits_are_summed_in_float32():
    logits = jnp.zeros((1, 1000), jnp.bfloat16)
    losses = cross_entropy(logits, jnp.array([3]))
    assert losses.dtype == jnp.float32
    # bfloat16 has no number nearer to it than 6.90625.
    np.testing.assert_allclose(losses, math.log(1000), rtol=1e-6)


def test_large_logits_do_not_overflow():
    losses = cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1]))
    np.testing.assert_allclose(losses, [1e4], rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, -1], {}, r"^labels\[1\] is -1, expected a class from 0 to 1$"),
        (np.array([2, 0]), {}, r"^labels\[0\] is 2, expected a class from 0 to 1$"),
        (np.array([1.0, 0.0]), {}, "^labels are float64"),
        ([0], {}, r"^labels are of shape \(1,\), expected \(2\)$"),
        ([0, 1], {"label_smoothing": 2}, "^label_smoothing is 2, expected a number"),
        ([0, 1], {"label_smoothing": -0.1}, "^label_smoothing is -0.1, expected"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(labels, options, message):
    with pytest.raises(InputError, match=message):
        inspect.unwrap(cross_entropy)(jnp.array(LOGITS), labels, **options)


def test_under_jit_the_loss_of_no_class_is_nan():
    losses = jax.jit(cross_entropy)(jnp.array(LOGITS), jnp.array([1, 2]))
    np.testing.assert_allclose(losses, [math.log(4 / 3), np.nan], rtol=1e-6)
