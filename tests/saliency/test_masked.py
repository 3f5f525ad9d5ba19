import functools

import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.masked import (
    BASELINES,
    SCORES,
    masked_scores,
    mixed,
    sum_over_masks,
)

TARGETS = np.arange(8) % 7
NUMBER = 7
# Quarters, so that no product is rounded.
MASKS = np.random.default_rng(2).integers(0, 5, (NUMBER, 8, 17, 17)) / 4


def mask_of(number):
    return jnp.asarray(MASKS, jnp.float32)[number]


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images, jnp.asarray(TARGETS))


@pytest.fixture(scope="module")
def expected(classifier, images):
    return {
        name: np.stack(
            [
                naive_masks.scores(
                    classifier, naive_masks.faded(images, mask), TARGETS, name
                )
                for mask in MASKS
            ]
        )
        for name in SCORES
    }


def test_a_mask_mixes_image_and_baseline_and_rounds():
    image = jnp.array([[[[0, 100, 201], [200, 100, 255]]]], jnp.uint8)
    masks = jnp.array([[[[0.25, 1.0]]], [[[0.0, 0.5]]]])  # two blocks of one image
    found = [mixed(image, masks, name).tolist() for name in ("black", "grey", "mean")]
    # 25.0 and 50.25; then 127.5, to the even number.
    assert found[0] == [
        [[[[0, 25, 50], [200, 100, 255]]]],
        [[[[0, 0, 0], [100, 50, 128]]]],
    ]
    assert found[1] == [
        [[[[96, 121, 146], [200, 100, 255]]]],
        [[[[128, 128, 128], [164, 114, 192]]]],
    ]
    # The mean is (100, 100, 228).
    assert found[2] == [
        [[[[75, 100, 221], [200, 100, 255]]]],
        [[[[100, 100, 228], [150, 100, 242]]]],
    ]


@pytest.mark.parametrize("baseline", BASELINES)
def test_all_is_kept_or_nothing(images, baseline):
    ones = jnp.ones(images.shape[:3])
    np.testing.assert_array_equal(mixed(images, ones, baseline), images)
    nothing = np.asarray(mixed(images, 0 * ones, baseline))
    assert (nothing == nothing[:, :1, :1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("block", [1, 3, 20])
def test_scores_are_those_of_a_loop_over_masks(
    classifier, clean, expected, name, block
):
    found = masked_scores(classifier, clean, mask_of, NUMBER, score=name, block=block)
    assert found.shape == (NUMBER, 8)
    np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 3, 20])
def test_sums_are_those_of_a_loop_over_masks(classifier, clean, expected, block):
    def term(number, mask, scores):
        return {"map": mask * scores[:, None, None], "numbers": number * scores}

    found = sum_over_masks(classifier, clean, mask_of, NUMBER, term=term, block=block)
    scores = expected["confidence"]
    np.testing.assert_allclose(
        found["map"], np.einsum("nb,nbhw->bhw", scores, MASKS), rtol=1e-4
    )
    np.testing.assert_allclose(
        found["numbers"], np.arange(NUMBER) @ scores, rtol=1e-4, atol=1e-6
    )


def test_ten_times_the_masks_take_no_more_memory(classifier, clean):
    def bytes_of(num_masks, block):
        def program(clean):
            def mask_of(number):
                return jnp.broadcast_to(number / num_masks, clean.images.shape[:3])

            return sum_over_masks(
                classifier,
                clean,
                mask_of,
                num_masks,
                term=lambda number, mask, scores: mask * scores[:, None, None],
                block=block,
            )

        return naive_masks.temporary_bytes(program, clean)

    few = bytes_of(100, 1)
    assert few > 0
    assert bytes_of(1000, 1) == few
    # It does tell: more at a time take more.
    assert bytes_of(100, 10) > 2 * few


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "logit"}, "^unknown score 'logit': .* value, confidence, log_con"),
        ({"baseline": "white"}, "^unknown baseline 'white': .* black, grey, mean$"),
        ({"block": 0}, "^block is 0, expected a whole number from 1"),
        ({"num_masks": 0}, "^num_masks is 0, expected a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(classifier, clean, options, message):
    options = {"num_masks": NUMBER} | options
    sums = functools.partial(sum_over_masks, term=lambda number, mask, scores: scores)
    for function in (masked_scores, sums):
        with pytest.raises(InputError, match=message):
            function(classifier, clean, mask_of, **options)
