import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import (
    FILLS,
    ORDERS,
    Outcome,
    Perturbation,
    grid,
    perturbed_outcomes,
)
from sdd_jax.faithfulness.perturbations import counts_of
from sdd_jax.faithfulness.ranks import ranks


def answer_with(scores, targets):
    confidence = scores[jnp.arange(len(targets)), targets]
    return Outcome(confidence, scores.argmax(1).astype(jnp.int32))


def red_against_blue(images, targets):
    """Score the first class by the red in an image, the second by the blue."""
    red, blue = images[..., 0].mean((1, 2)), images[..., 2].mean((1, 2))
    return answer_with(jnp.stack([red, blue], axis=1) / 100, targets)


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def outcomes(answer, images, maps, targets, wanted):
    """Return the outcomes of maps, [methods, batch, height, width]."""
    targets = jnp.asarray(targets)
    counts = counts_of(wanted, *images.shape[1:3])
    ranked = [ranks(each, keys(len(images)), counts=counts) for each in maps]
    return perturbed_outcomes(
        answer,
        images,
        jnp.stack(ranked),
        targets,
        keys(len(images)),
        intact=answer(images, targets),
        wanted=wanted,
    )


@pytest.mark.slow
def test_deletion_and_retention_by_hand():
    # Two pixels: red 40 and blue 80 where it is salient, red 60 and blue 0 elsewhere;
    # the mean is red 50, blue 40. Confidence is that of blue.
    images = jnp.array([[[[40, 0, 80], [60, 0, 0]]]], jnp.uint8)
    wanted = grid(("black", "mean"), (0.5,))
    assert ORDERS == ("deletion", "retention")
    assert [each.order for each in wanted] == ["deletion", "retention"] * 2
    maps = jnp.array([[[[1.0, 0.0]]]])
    found = outcomes(red_against_blue, images, maps, [1], wanted)
    # Deleted: the other pixel beside black: red 30, blue 0; beside the mean: 55, 20.
    # Retained: the salient one beside black: red 20, blue 40; beside the mean: 45, 60.
    np.testing.assert_allclose(found.confidence[0, :, 0], [0, 0.4, 0.2, 0.6], rtol=1e-6)
    np.testing.assert_array_equal(found.decision[0, :, 0], [0, 1, 0, 1])


@pytest.mark.slow
def test_the_confidence_is_the_targets():
    images = jnp.full((2, 2, 2, 3), 100, jnp.uint8).at[..., 2].set(20)
    wanted = (Perturbation("deletion", "mean", 0.5),)
    maps = jnp.zeros((1, 2, 2, 2))
    found = outcomes(red_against_blue, images, maps, [1, 0], wanted)
    np.testing.assert_allclose(found.confidence[0, 0], [0.2, 1.0], rtol=1e-6)


@pytest.mark.slow
def test_every_method_and_perturbation_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (5, 6, 4, 3), np.uint8))
    maps = rng.random((3, 5, 6, 4)).astype(np.float32)
    targets = rng.integers(0, 4, 5)
    weights = rng.normal(0, 0.02, (6 * 4 * 3, 4)).astype(np.float32)

    def answer(images, targets):
        scores = jax.nn.softmax(images.reshape(len(images), -1) @ weights)
        return answer_with(scores, targets)

    wanted = grid(tuple(FILLS), (0.0, 0.25, 0.5, 0.51, 1.0))
    found = outcomes(answer, images, jnp.asarray(maps), targets, wanted)
    assert found.confidence.shape == found.decision.shape == (3, len(wanted), 5)
    fill_all = {name: jax.jit(fill) for name, fill in FILLS.items()}
    for p, each in enumerate(wanted):
        for m in range(3):
            order = np.argsort(-maps[m].reshape(5, -1), axis=1)
            salient = np.zeros((5, 24), bool)
            count = round(each.fraction * 24)
            np.put_along_axis(salient, order[:, :count], True, axis=1)
            keep = ~salient if each.order == "deletion" else salient
            masked = fill_all[each.fill](
                images, jnp.asarray(keep.reshape(5, 6, 4)), keys(5)
            )
            expected = answer(masked, targets)
            np.testing.assert_allclose(
                found.confidence[m, p], expected.confidence, rtol=1e-4
            )
            np.testing.assert_array_equal(found.decision[m, p], expected.decision)


@pytest.mark.slow
def test_the_network_is_traced_once_and_sees_each_distinct_image_once():
    traced, seen = [], []

    def answer(images, targets):
        traced.append(images.shape)
        jax.debug.callback(lambda images: seen.append(images.tobytes()), images)
        return red_against_blue(images, targets)

    images = jnp.asarray(np.random.default_rng(0).integers(1, 256, (2, 4, 5, 3), "u1"))
    maps = jnp.asarray(np.random.default_rng(1).random((3, 2, 4, 5)), jnp.float32)
    # 0.21 of 20 pixels are as many as 0.2, nothing is filled at deletion 0 and
    # retention 1, and all at deletion 1 and retention 0, whatever the method.
    wanted = grid(("black", "mean"), (0.0, 0.2, 0.21, 0.6, 1.0))
    targets = jnp.zeros(2, int)
    ranked = jnp.stack([ranks(m, keys(2), counts=(4, 12)) for m in maps])
    perturbed_outcomes(
        answer,
        images,
        ranked,
        targets,
        keys(2),
        intact=red_against_blue(images, targets),
        wanted=wanted,
    )
    jax.effects_barrier()
    assert traced == [(2, 4, 5, 3)]
    # For each fill: three methods, two orders, two counts; and all filled.
    assert len(seen) == len(set(seen)) == 2 * (3 * 2 * 2 + 1)


def test_what_fills_nothing_is_not_computed():
    def answer(images, targets):
        raise AssertionError("nothing is filled")

    wanted = (
        Perturbation("deletion", "mean", 0.0),
        Perturbation("retention", "mean", 1.0),
    )
    intact = Outcome(jnp.array([0.25, 0.5]), jnp.array([3, 4]))
    found = perturbed_outcomes(
        answer,
        jnp.zeros((2, 3, 3, 3), jnp.uint8),
        jnp.zeros((1, 2, 3, 3), jnp.uint8),
        jnp.array([3, 4]),
        keys(2),
        intact=intact,
        wanted=wanted,
    )
    np.testing.assert_array_equal(found.confidence, [[[0.25, 0.5]] * 2])
    np.testing.assert_array_equal(found.decision, [[[3, 4]] * 2])


@pytest.mark.parametrize(
    ("ranked", "targets", "wanted", "message"),
    [
        ((1, 2, 3, 3), [0, -1], "black", r"^targets\[1\] is -1, expected a class"),
        ((1, 2, 3, 3), [0.5, 1], "black", "^targets are float64"),
        ((1, 2, 3, 3), [0], "black", r"^targets are of shape \(1,\)"),
        ((2, 3, 3), [0, 1], "black", r"^the ranks are of shape \(2, 3, 3\)"),
        ((1, 2, 3, 4), [0, 1], "black", r"expected \(methods, 2, 3, 3\)$"),
        ((1, 2, 3, 3), [0, 1], "pink", "^unknown fill 'pink': expected one of black,"),
    ],
)
def test_ranks_and_targets_are_one_for_each_image(ranked, targets, wanted, message):
    # Unwrapped: the annotations, which only tests check, would refuse some first.
    with pytest.raises(InputError, match=message):
        inspect.unwrap(perturbed_outcomes)(
            red_against_blue,
            jnp.zeros((2, 3, 3, 3), jnp.uint8),
            jnp.zeros(ranked, jnp.uint8),
            targets,
            keys(2),
            intact=Outcome(jnp.zeros(2), jnp.zeros(2, int)),
            wanted=(Perturbation("deletion", wanted, 0.2),),
        )


def test_an_order_that_is_not_known_is_refused():
    wanted = (Perturbation("removal", "black", 0.2),)
    with pytest.raises(
        InputError, match="^unknown order 'removal': expected one of de"
    ):
        perturbed_outcomes(
            red_against_blue,
            jnp.zeros((2, 3, 3, 3), jnp.uint8),
            jnp.zeros((1, 2, 3, 3), jnp.uint8),
            jnp.array([0, 1]),
            keys(2),
            intact=Outcome(jnp.zeros(2), jnp.zeros(2, int)),
            wanted=wanted,
        )


def test_an_unknown_fill_is_refused_with_the_known_ones():
    known = "black, mean, blur, linear"
    with pytest.raises(
        InputError, match=f"^unknown fill 'red': expected one of {known}"
    ):
        grid(("black", "red"), (0.2,))


def test_one_text_is_no_list_of_fills():
    with pytest.raises(InputError, match=r"'black', one text: expected \('black',\)$"):
        grid("black", (0.2,))
