import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models import FaceClassifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.saliency import DEFAULT_METHODS, METHODS, bind_methods, clean_pass
from sdd_jax.types import Batch, Explanation

OPTIONS = dict(wanted=grid(("black", "mean"), (0.2,)), seed=0)


def batch_of(images, indices):
    count = len(indices)
    return Batch(
        images, jnp.zeros(count, int), jnp.asarray(indices), jnp.ones(count, bool)
    )


@pytest.fixture(scope="module")
def program(classifier, images):
    """Compiled once for all tests."""
    program = functools.partial(
        study,
        classifier,
        methods=bind_methods(DEFAULT_METHODS, {}),
        **OPTIONS,
    )
    return jax.jit(program).lower(batch_of(images, range(8))).compile()


@pytest.fixture(scope="module")
def result(program, images):
    return program(batch_of(images, range(8)))


@pytest.mark.slow
def test_the_predicted_class_is_explained(classifier, images, result):
    logits = classifier.logits(classifier.feature_maps(images))
    scores = jax.nn.softmax(logits)
    np.testing.assert_allclose(result["intact"].confidence, scores.max(1), atol=1e-5)
    np.testing.assert_array_equal(result["intact"].decision, logits.argmax(1))
    for name in ("cam", "sdd"):
        clean = clean_pass(classifier, images, logits.argmax(1))
        method = jax.jit(functools.partial(METHODS[name], classifier))
        saliency = method(clean, jax.random.key(0)).saliency
        found = result["explanations"][name].saliency
        np.testing.assert_allclose(found, saliency, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_details_are_sdds(classifier, images, result):
    details = result["explanations"]["sdd"].details
    assert (details["rivals"] != result["intact"].decision[:, None]).all()
    logits = classifier.logits(classifier.feature_maps(images))
    scores = jnp.take_along_axis(jax.nn.softmax(logits), details["rivals"], axis=1)
    np.testing.assert_allclose(details["rival_probabilities"], scores, atol=1e-5)
    assert result["explanations"]["cam"].details == {}


def test_each_mask_holds_the_most_salient_fifth(result):
    for name, ranks in zip(DEFAULT_METHODS, result["ranks"], strict=True):
        maps, salient = result["explanations"][name].saliency, ranks == 0
        for values, chosen in zip(maps, salient, strict=True):
            assert chosen.sum() == 58  # 57.8
            assert values[chosen].min() >= values[~chosen].max()


def test_the_masks_are_applied_in_the_order_of_the_names(classifier, images, result):
    keep = [lambda salient: ~salient, lambda salient: salient]
    colours = [np.zeros((8, 1, 1, 3)), np.round(np.mean(images, (1, 2), keepdims=True))]
    score = jax.jit(
        lambda images: jax.nn.softmax(
            classifier.logits(classifier.feature_maps(images))
        )
    )
    places = np.arange(8)
    for method, fill, scheme in np.ndindex(len(DEFAULT_METHODS), 2, 2):
        kept = keep[scheme](result["ranks"][method] == 0)[..., None]
        masked = np.where(kept, images, colours[fill]).astype(np.uint8)
        scores = np.asarray(score(masked))
        np.testing.assert_allclose(
            result["perturbed"].confidence[method, 2 * fill + scheme],
            scores[places, result["intact"].decision],
            atol=1e-5,
        )
        np.testing.assert_array_equal(
            result["perturbed"].decision[method, 2 * fill + scheme], scores.argmax(1)
        )


@pytest.mark.slow
def test_an_images_numbers_depend_neither_on_its_place_nor_on_padding(
    program, images, result
):
    order = jnp.array([6, 1, 3, 0, 0, 0, 0, 0])
    images = images[order].at[4:].set(0)
    moved = program(batch_of(images, order))
    real = jnp.arange(4)

    for name in ("intact", "explanations"):
        for a, b in zip(
            jax.tree.leaves(moved[name]), jax.tree.leaves(result[name]), strict=True
        ):
            np.testing.assert_array_equal(a[real], b[order[real]])
    np.testing.assert_array_equal(
        moved["ranks"][:, real], result["ranks"][:, order[real]]
    )
    for a, b in zip(moved["perturbed"], result["perturbed"], strict=True):
        np.testing.assert_array_equal(a[..., real], b[..., order[real]])


def test_an_image_keeps_its_random_map_and_another_has_its_own(program, images, result):
    other = program(batch_of(images, range(100, 108)))
    for name in DEFAULT_METHODS:
        a, b = (each["explanations"][name].saliency for each in (other, result))
        same = (a == b).all()
        assert same == (name not in ("random_map", "random_pixels"))


@pytest.mark.slow
def test_ties_are_broken_independently_of_the_random_maps(classifier, images, result):
    def flat(model, clean, key):
        return Explanation(jnp.zeros(clean.images.shape[:3]))

    program = functools.partial(study, classifier, methods={"flat": flat}, **OPTIONS)
    chosen = jax.jit(program)(batch_of(images, range(8)))["ranks"][0] == 0
    noise = result["explanations"]["random_pixels"].saliency[chosen]
    # Five standard errors of the mean of uniform numbers.
    assert abs(noise.mean() - 0.5) < 5 / np.sqrt(12 * noise.size)


def test_all_methods_share_one_clean_forward_pass(program):
    # The tiny network has two convolutions: two on the intact images and two in the
    # loop over the masks are all there is to compute.
    assert program.as_text().count(" convolution(") == 4


def test_only_sdd_asks_for_rivals(classifier, images):
    head = PooledHead(5, 1)  # of one class, which has no rival
    one_class = FaceClassifier(classifier.spec, classifier.backbone, head)

    def shapes(names):
        program = functools.partial(
            study, one_class, methods=bind_methods(names, {}), **OPTIONS
        )
        return jax.eval_shape(program, batch_of(images, range(8)))

    for names in (("cam",), ("random_map", "centre")):
        out = shapes(names)
        assert set(out["explanations"]) == set(names)
        assert not any(each.details for each in out["explanations"].values())
    with pytest.raises(InputError, match="among 1 classes, but a divergence needs"):
        shapes(("cam", "sdd"))
