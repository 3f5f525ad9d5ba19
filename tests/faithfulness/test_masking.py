import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.masking import (
    SCHEMES,
    check_fills,
    masked_predictions,
)


def answer_with(scores, targets):
    return scores[jnp.arange(len(targets)), targets], scores.argmax(1)


def red_against_blue(images, targets):
    """Score the first class by the red in a picture, the second by the blue."""
    red, blue = images[..., 0].mean((1, 2)), images[..., 2].mean((1, 2))
    return answer_with(jnp.stack([red, blue], axis=1) / 100, targets)


def test_deletion_and_retention_by_hand():
    # Two pixels: red 40 and blue 80 where it is salient, red 60 and blue 0 elsewhere;
    # the mean is red 50, blue 40. Confidence is that of blue.
    images = jnp.array([[[[40, 0, 80], [60, 0, 0]]]], jnp.uint8)
    salient = jnp.array([[[[True, False]]]])
    confidence, prediction = masked_predictions(
        red_against_blue, images, salient, jnp.array([1]), fills=("black", "mean")
    )

    assert SCHEMES == ("deletion", "retention")
    # Deleted: the other pixel beside black: red 30, blue 0; beside the mean: 55, 20.
    # Retained: the salient one beside black: red 20, blue 40; beside the mean: 45, 60.
    np.testing.assert_allclose(
        confidence[0, :, :, 0], [[0, 0.4], [0.2, 0.6]], rtol=1e-6
    )
    np.testing.assert_array_equal(prediction[0, :, :, 0], [[0, 1], [0, 1]])


def test_the_confidence_is_the_targets():
    images = jnp.full((2, 2, 2, 3), 100, jnp.uint8).at[..., 2].set(20)
    nothing = jnp.zeros((1, 2, 2, 2), bool)
    confidence, _ = masked_predictions(
        red_against_blue, images, nothing, jnp.array([1, 0]), fills=("mean",)
    )
    np.testing.assert_allclose(confidence[0, 0, 0], [0.2, 1.0], rtol=1e-6)


def test_every_method_fill_and_scheme_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 6, 4, 3), np.uint8)
    salient = rng.random((3, 5, 6, 4)) < 0.3
    targets = rng.integers(0, 4, 5)
    weights = rng.normal(0, 0.02, (6 * 4 * 3, 4)).astype(np.float32)

    def answer(images, targets):
        scores = jax.nn.softmax(images.reshape(len(images), -1) @ weights)
        return answer_with(scores, targets)

    confidence, prediction = masked_predictions(
        answer,
        jnp.asarray(images),
        jnp.asarray(salient),
        jnp.asarray(targets),
        fills=("mean", "black"),
    )
    assert confidence.shape == prediction.shape == (3, 2, 2, 5)
    for method, fill, scheme, i in np.ndindex(3, 2, 2, 5):
        masked = images[i].copy()
        colour = [np.round(images[i].mean((0, 1))), 0][fill]
        masked[salient[method, i] if scheme == 0 else ~salient[method, i]] = colour
        logits = masked.astype(float).ravel() @ weights
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        np.testing.assert_allclose(
            confidence[method, fill, scheme, i], expected[targets[i]], rtol=1e-4
        )
        assert prediction[method, fill, scheme, i] == expected.argmax()


def test_the_network_is_traced_once_however_many_masks_there_are():
    calls = []

    def answer(images, targets):
        calls.append(images.shape)
        return red_against_blue(images, targets)

    masked_predictions(
        answer,
        jnp.zeros((2, 3, 3, 3), jnp.uint8),
        jnp.zeros((4, 2, 3, 3), bool),
        jnp.zeros(2, int),
        fills=("black", "mean"),
    )
    assert calls == [(2, 3, 3, 3)]


def test_an_unknown_fill_is_refused_with_the_known_ones():
    check_fills(("black", "mean"))
    with pytest.raises(
        InputError, match="^unknown fill 'blur': expected one of black, mean$"
    ):
        check_fills(("black", "blur"))


IMAGES = jnp.zeros((2, 3, 3, 3), jnp.uint8)


@pytest.mark.parametrize(
    ("salient", "targets", "message"),
    [
        (jnp.zeros((1, 2, 3, 3), bool), [0, -1], r"^targets\[1\] is -1, expected a cl"),
        (jnp.zeros((1, 2, 3, 3), bool), [0.5, 1], "^targets are float64"),
        (jnp.zeros((1, 2, 3, 3), bool), [0], r"^targets are of shape \(1,\)"),
        (
            jnp.zeros((2, 3, 3), bool),
            [0, 1],
            r"^the masks are of shape \(2, 3, 3\)",
        ),
        (jnp.zeros((1, 2, 3, 4), bool), [0, 1], r"expected \(methods, 2, 3, 3\)$"),
        (jnp.zeros((1, 2, 3, 3)), [0, 1], "^the masks are float32, expected bool"),
    ],
)
def test_masks_and_targets_are_one_for_each_image(salient, targets, message):
    # Unwrapped: the annotations, which only tests check, would refuse some first.
    with pytest.raises(InputError, match=message):
        inspect.unwrap(masked_predictions)(
            red_against_blue, IMAGES, salient, targets, fills=("black",)
        )


def test_one_text_is_no_list_of_fills():
    with pytest.raises(InputError, match=r"'black', one text: expected \('black',\)$"):
        check_fills("black")
