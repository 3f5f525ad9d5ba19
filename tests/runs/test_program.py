import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import metrics
from sdd_jax.models import FaceClassifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.runs.program import (
    bind_methods,
    explain_and_mask,
    join_model,
    split_model,
)
from sdd_jax.saliency import METHODS
from sdd_jax.types import Batch

OPTIONS = dict(sdd_options={}, fills=("black", "mean"), fraction=0.2, seed=0)


def batch_of(images, indices):
    count = len(indices)
    return Batch(
        images, jnp.zeros(count, int), jnp.asarray(indices), jnp.ones(count, bool)
    )


@pytest.fixture(scope="module")
def program(classifier, images):
    """Compiled once for all tests."""
    program = functools.partial(
        explain_and_mask,
        classifier,
        methods=bind_methods(tuple(METHODS), {}),
        **OPTIONS,
    )
    return jax.jit(program).lower(batch_of(images, range(8))).compile()


@pytest.fixture(scope="module")
def result(program, images):
    return program(batch_of(images, range(8)))


def test_the_predicted_class_is_explained(classifier, images, result):
    logits = classifier.logits(classifier.feature_maps(images))
    scores = jax.nn.softmax(logits)
    np.testing.assert_allclose(result["confidence"], scores.max(1), atol=1e-5)
    np.testing.assert_array_equal(result["prediction"], logits.argmax(1))
    for name in ("cam", "sdd"):
        method = jax.jit(functools.partial(METHODS[name], classifier))
        saliency = method(images, logits.argmax(1), jax.random.key(0))
        np.testing.assert_allclose(result["maps"][name], saliency, rtol=1e-5, atol=1e-5)


def test_the_explanation_is_sdds(classifier, images, result):
    np.testing.assert_allclose(
        result["explanation"].saliency, result["maps"]["sdd"], rtol=1e-6
    )
    explanation = result["explanation"]
    assert (explanation.rivals != result["prediction"][:, None]).all()
    logits = classifier.logits(classifier.feature_maps(images))
    scores = jnp.take_along_axis(jax.nn.softmax(logits), explanation.rivals, axis=1)
    np.testing.assert_allclose(explanation.rival_probabilities, scores, atol=1e-5)


def test_each_mask_holds_the_most_salient_fifth(result):
    for name, salient in result["salient"].items():
        maps = result["maps"][name]
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
    pictures = np.arange(8)
    for method, fill, scheme in np.ndindex(len(METHODS), 2, 2):
        kept = keep[scheme](result["salient"][list(METHODS)[method]])[..., None]
        masked = np.where(kept, images, colours[fill]).astype(np.uint8)
        scores = np.asarray(score(masked))
        np.testing.assert_allclose(
            result["masked_confidence"][method, fill, scheme],
            scores[pictures, result["prediction"]],
            atol=1e-5,
        )
        np.testing.assert_array_equal(
            result["masked_prediction"][method, fill, scheme], scores.argmax(1)
        )


def test_effects_compare_masked_with_intact_pictures(result):
    expected = metrics.effects(
        result["confidence"],
        result["masked_confidence"],
        result["prediction"],
        result["masked_prediction"],
    )
    assert set(result["effects"]) == set(metrics.METRICS)
    for name, value in expected.items():
        np.testing.assert_allclose(result["effects"][name], value, rtol=1e-5, atol=1e-4)


def test_a_pictures_numbers_depend_neither_on_its_place_nor_on_padding(
    program, images, result
):
    order = jnp.array([6, 1, 3, 0, 0, 0, 0, 0])
    images = images[order].at[4:].set(0)
    moved = program(batch_of(images, order))
    real = jnp.arange(4)

    for name in ("confidence", "prediction", "explanation", "maps", "salient"):
        for a, b in zip(
            jax.tree.leaves(moved[name]), jax.tree.leaves(result[name]), strict=True
        ):
            np.testing.assert_array_equal(a[real], b[order[real]])
    for name in ("masked_confidence", "masked_prediction"):
        np.testing.assert_array_equal(
            moved[name][..., real], result[name][..., order[real]]
        )


def test_a_picture_keeps_its_random_map_and_another_has_its_own(
    program, images, result
):
    other = program(batch_of(images, range(100, 108)))
    for name in METHODS:
        same = (other["maps"][name] == result["maps"][name]).all()
        assert same == (name not in ("random_map", "random_pixels"))


def test_ties_are_broken_independently_of_the_random_maps(classifier, images, result):
    def flat(model, images, targets, key):
        return jnp.zeros(images.shape[:3])

    program = functools.partial(
        explain_and_mask, classifier, methods={"flat": flat}, **OPTIONS
    )
    chosen = jax.jit(program)(batch_of(images, range(8)))["salient"]["flat"]
    noise = result["maps"]["random_pixels"][chosen]
    # Five standard errors of the mean of uniform numbers.
    assert abs(noise.mean() - 0.5) < 5 / np.sqrt(12 * noise.size)


def test_all_methods_share_one_clean_forward_pass(program):
    # The tiny network has one convolution: one on the intact pictures and one in the
    # loop over the masks is all there is to compute.
    assert program.as_text().count(" convolution(") == 2


def test_hyper_parameters_are_bound_by_name(classifier, images):
    methods = bind_methods(("cam", "centre"), {"cam": {"centre": False}, "sdd": {}})
    assert list(methods) == ["cam", "centre"]
    np.testing.assert_array_equal(
        methods["cam"](classifier, images, jnp.zeros(8, int), jax.random.key(0)),
        METHODS["cam"](
            classifier, images, jnp.zeros(8, int), jax.random.key(0), centre=False
        ),
    )


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError,
        match="^unknown method 'gradcam': expected one of sdd, cam, random_map, random_"
        "pixels, centre$",
    ):
        bind_methods(("sdd", "gradcam"), {})


def test_an_unknown_fill_is_refused_before_anything_is_computed(classifier):
    options = OPTIONS | {"fills": ("black", "blur")}
    with pytest.raises(InputError, match="^unknown fill 'blur': expected one of"):
        explain_and_mask(classifier, Batch(*[None] * 4), methods={}, **options)


def test_a_model_survives_being_split_and_joined(classifier, images):
    graphdef, arrays = split_model(classifier)
    joined = join_model(graphdef, jax.tree.map(np.asarray, arrays))
    np.testing.assert_array_equal(
        joined.feature_maps(images), classifier.feature_maps(images)
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        nnx.to_pure_dict(nnx.state(joined)),
        nnx.to_pure_dict(nnx.state(classifier)),
    )


@pytest.mark.parametrize("sdd_options", [{}, {"num_classes_compared": 1}])
def test_only_sdd_asks_for_rivals(classifier, images, result, sdd_options):
    head = PooledHead(5, 1)  # of one class, which has no rival
    one_class = FaceClassifier(classifier.spec, classifier.backbone, head)
    options = OPTIONS | {"sdd_options": sdd_options}

    def shapes(model, names):
        program = functools.partial(
            explain_and_mask, model, methods=bind_methods(names, {}), **options
        )
        return jax.eval_shape(program, batch_of(images, range(8)))

    for names in (("cam",), ("random_map", "centre")):
        out = shapes(one_class, names)
        assert set(out["maps"]) == set(names) and "explanation" not in out
    with pytest.raises(InputError, match="among 1 classes, but a divergence needs"):
        shapes(one_class, ("cam", "sdd"))


def test_one_text_is_no_list_of_methods():
    with pytest.raises(InputError, match=r"'sdd', one text: expected \('sdd',\)$"):
        inspect.unwrap(bind_methods)("sdd", {})
