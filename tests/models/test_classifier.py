import copy
import dataclasses
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier, with_variables
from sdd_jax.types import InputSpec

TINY = {
    "input": {"size": 32},
    "backbone": {"name": "ir_resnet", "arch": "ir_tiny"},
    "head": {"name": "pooled", "num_classes": 3},
}


class Pixels(nnx.Module):
    """A backbone that returns its input."""

    def __call__(self, x):
        return x


@pytest.fixture(scope="module")
def arrays():
    """All that the tiny network consists of, with every number random."""
    rng = np.random.default_rng(0)
    shapes = nnx.eval_shape(lambda: models.variables(models.build(TINY)))
    # Between 0.5 and 1: variances must be positive.
    return jax.tree.map(
        lambda x: jnp.asarray(rng.uniform(0.5, 1, x.shape), x.dtype), shapes
    )


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(0, 256, (2, 32, 32, 3), np.uint8))


def assert_same_arrays(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_pixels_are_normalised_in_the_order_of_the_spec():
    image = jnp.array([10, 20, 30], jnp.uint8).reshape(1, 1, 1, 3)
    expected = {"RGB": [4.5, 9, 13.5], "BGR": [14.5, 9, 3.5]}
    for order, values in expected.items():
        spec = InputSpec(1, order, mean=(1.0, 2.0, 3.0), scale=2.0)
        model = FaceClassifier(spec, Pixels(), None)
        np.testing.assert_array_equal(model.feature_maps(image).ravel(), values)


def test_a_bgr_network_sees_the_channels_of_rgb_images_flipped(classifier, images):
    bgr = dataclasses.replace(classifier.spec, colour_order="BGR")
    model = FaceClassifier(bgr, classifier.backbone, classifier.head)

    maps = model.feature_maps(images)
    np.testing.assert_array_equal(maps, classifier.feature_maps(images[..., ::-1]))
    assert (maps != classifier.feature_maps(images)).any()


def test_images_of_another_size_are_refused(classifier):
    with pytest.raises(
        InputError, match="^images of 16x17 pixels .* takes 17x17: resize them first$"
    ):
        classifier.feature_maps(jnp.zeros((1, 16, 17, 3), jnp.uint8))


def test_logits_and_class_maps_are_the_heads(classifier, images):
    feature_maps = classifier.feature_maps(images)
    classes = jnp.zeros((8, 1), int)
    np.testing.assert_array_equal(
        classifier.logits(feature_maps), classifier.head.logits(feature_maps)
    )
    for centre in (False, True):
        np.testing.assert_array_equal(
            classifier.class_maps(feature_maps, classes, centre=centre),
            classifier.head.class_maps(feature_maps, classes, centre=centre),
        )


def test_a_head_that_cannot_is_named(classifier, images):
    with pytest.raises(InputError, match="^this model's head, PooledHead, has no emb"):
        classifier.embeddings(classifier.feature_maps(images))
    with pytest.raises(InputError, match="has no embeddings_and_norms: .* have norms$"):
        classifier.embeddings_and_norms(classifier.feature_maps(images))


def test_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError,
        match="^unknown backbone 'vit': expected one of dlib_resnet, ir_resnet, sface$",
    ):
        models.build({"backbone": {"name": "vit"}, "head": TINY["head"]})


def test_unknown_head_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError,
        match="^unknown head 'arcface': expected pooled, .* or flat_embedding",
    ):
        nnx.eval_shape(lambda: models.build({**TINY, "head": {"name": "arcface"}}))


def test_a_description_overrides_the_input_spec():
    backbone = {"backbone": TINY["backbone"]}
    published = models.input_spec(backbone)
    assert (published.size, published.colour_order) == (112, "BGR")
    assert models.input_spec({**backbone, "input": {"colour_order": "RGB"}}) == (
        dataclasses.replace(published, colour_order="RGB")
    )


def test_building_leaves_the_description_as_it_was():
    description = copy.deepcopy(TINY)
    nnx.eval_shape(lambda: models.build(description))
    assert description == TINY


def test_what_variables_returns_makes_the_same_model(arrays):
    assert_same_arrays(models.variables(with_variables(TINY, arrays)), arrays)


def test_a_model_with_variables_evaluates(arrays, faces):
    # With a batch's own statistics an image alone would come out otherwise.
    model = with_variables(TINY, arrays)
    feature_maps = jax.jit(model.feature_maps)
    both = feature_maps(faces)
    np.testing.assert_allclose(feature_maps(faces[:1]), both[:1], rtol=1e-5)
    assert_same_arrays(models.variables(model), arrays)


def save(directory, step, arrays, score):
    checkpoints.save(directory, step, {"model": arrays}, {"model": TINY}, score)


@pytest.mark.slow
def test_the_best_checkpoint_is_loaded_to_the_bit(arrays, tmp_path):
    best, last = (jax.tree.map(lambda x, c=c: c * x, arrays) for c in (2, 3))
    save(tmp_path, 1, arrays, 0.5)
    save(tmp_path, 2, best, 0.9)
    save(tmp_path, 3, last, 0.7)

    assert_same_arrays(models.variables(models.load(tmp_path)), best)
    assert_same_arrays(models.variables(models.load(tmp_path, step=3)), last)


@pytest.mark.slow
def test_a_loaded_model_is_the_one_saved(arrays, faces, tmp_path):
    save(tmp_path, 0, arrays, 0.0)
    loaded, saved = models.load(tmp_path), with_variables(TINY, arrays)
    assert loaded.spec == saved.spec
    np.testing.assert_array_equal(
        jax.jit(loaded.feature_maps)(faces), jax.jit(saved.feature_maps)(faces)
    )


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=f"^no checkpoint in {re.escape(str(tmp_path))}"
    ):
        models.load(tmp_path)


def test_a_step_that_was_not_saved_is_refused(arrays, tmp_path):
    save(tmp_path, 1, arrays, 0.5)
    with pytest.raises(
        InputError, match="^no checkpoint of step 2 in .*: expected one of 1$"
    ):
        models.load(tmp_path, step=2)


def test_arrays_of_another_model_are_refused(arrays, tmp_path):
    other = {**TINY, "head": {"name": "pooled", "num_classes": 4}}
    checkpoints.save(tmp_path, 0, {"model": arrays}, {"model": other}, 0.0)
    with pytest.raises(
        InputError,
        match=r"head/kernel is \(32, 3\) float32, expected \(32, 4\) float32",
    ):
        models.load(tmp_path)


def test_a_colour_order_that_is_none_is_refused():
    with pytest.raises(InputError, match="colour order is 'bgr': expected RGB or BGR"):
        models.input_spec({**TINY, "input": {"colour_order": "bgr"}})


def test_images_of_another_type_are_refused(classifier):
    # Unwrapped: the annotation, which only tests check, would refuse them first.
    normalised = inspect.unwrap(type(classifier).normalised)
    with pytest.raises(InputError, match="^images of float32 were given, .* uint8"):
        normalised(classifier, jnp.zeros((1, 17, 17, 3)))


def test_the_gradient_by_the_image_is_taken_after_normalising(classifier, images):
    pixels = classifier.normalised(images)
    np.testing.assert_array_equal(
        classifier.backbone(pixels), classifier.feature_maps(images)
    )
    gradient = jax.grad(lambda x: classifier.logits(classifier.backbone(x)).sum())
    assert np.abs(gradient(pixels)).max() > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused_by_name(arrays, tmp_path, value):
    bad = copy.deepcopy(arrays)
    kernel = np.array(bad["head"]["kernel"])
    kernel[3, 1] = value
    bad["head"]["kernel"] = kernel
    save(tmp_path, 0, bad, 0.0)
    with pytest.raises(
        InputError,
        match=r"^model/head/kernel has 1 of 96 values that are NaN or infinite: the "
        r"checkpoint .*/checkpoints/0 answers nothing: train or convert it again$",
    ):
        models.load(tmp_path)
