import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import saliency
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import perturbations
from sdd_jax.faithfulness.study import study
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.embedding_heads import FlatEmbedding, PooledEmbedding
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.gallery import (
    NOBODY,
    UNDECIDED,
    GalleryHead,
    references_of,
    with_gallery,
)
from sdd_jax.types import Batch, Calibration

HEADS = {
    "adaface": lambda: FlatEmbedding(5, size=4, num_dimensions=6, rngs=nnx.Rngs(0)),
    "sface": lambda: FlatEmbedding(
        5, size=4, num_dimensions=6, epsilon=2e-5, affine=True, rngs=nnx.Rngs(0)
    ),
    "dlib": lambda: PooledEmbedding(5, num_dimensions=6, rngs=nnx.Rngs(0)),
}
# 4 * cosine - 1, no likelihood ratio beyond e^-2 or e^2.
CALIBRATION = Calibration(0.25, slope=4.0, offset=-1.0, lowest=-2.0, highest=2.0)


def embedding(name):
    made = randomised(HEADS[name]())
    made.set_attributes(use_running_average=True, raise_if_not_found=False)
    return made


@pytest.fixture
def references():
    return np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)


@pytest.fixture
def feature_maps():
    return jax.random.normal(jax.random.key(0), (3, 4, 4, 5))


@pytest.fixture
def model(classifier, references):
    """The tests' small network with a gallery of seven people."""
    made = FaceClassifier(classifier.spec, classifier.backbone, embedding("sface"))
    return with_gallery(made, references, CALIBRATION)


def cosines_by_hand(head, feature_maps, references):
    a, b = (
        np.asarray(x, np.float64) for x in (head.embeddings(feature_maps), references)
    )
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return a @ b.T / lengths


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_map_and_bias_add_up_to_the_cosine(name, feature_maps, references):
    head = GalleryHead(embedding(name), references)
    expected = cosines_by_hand(head.embedding, feature_maps, references)
    classes = jnp.array([[0, 6], [3, 2], [5, 5]])
    maps, bias = head.class_maps_and_bias(feature_maps, classes)
    assert maps.shape == (3, 2, 4, 4)
    found = maps.sum((2, 3)) + bias
    picked = np.take_along_axis(expected, np.asarray(classes), axis=1)
    np.testing.assert_allclose(found, picked, atol=1e-6)
    np.testing.assert_allclose(head.logits(feature_maps), expected, atol=1e-6)
    assert (np.abs(bias).min() > 1e-4) == (name != "dlib")  # whose layer has no bias
    for centre in (False, True):
        same = head.class_maps(feature_maps, classes, centre=centre)
        np.testing.assert_array_equal(same, maps)


@pytest.mark.slow
def test_scores_are_cosine_probability_and_threshold_worked_by_hand():
    # One cell, one matrix: the embedding of (3, 4) is (3, 4), of (0, -1) it is (0, -1).
    layer = PooledEmbedding(2, num_dimensions=2, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.eye(2)
    head = GalleryHead(layer, np.array([[2.0, 0], [0, 5]], np.float32), CALIBRATION)
    maps = jnp.array([[[[3.0, 4]]], [[[0, -1]]], [[[3, 4]]]])
    scores = head.scores(maps, jnp.array([1, 1, 0]))
    np.testing.assert_allclose(scores.value, [0.8, -1, 0.6], atol=1e-6)
    ratios = np.array([4 * 0.8 - 1, -5, 4 * 0.6 - 1]).clip(-2, 2)
    np.testing.assert_allclose(scores.confidence, 1 / (1 + np.exp(-ratios)), rtol=1e-5)
    np.testing.assert_allclose(np.exp(scores.log_confidence), scores.confidence)
    # The second image is near to nobody: its nearest cosine is 0, below 0.25.
    np.testing.assert_array_equal(scores.decision, [1, NOBODY, 1])


def test_without_a_calibration_nothing_is_decided(feature_maps, references):
    head = GalleryHead(embedding("dlib"), references)
    scores = head.scores(feature_maps, jnp.array([0, 1, 2]))
    assert np.isfinite(scores.value).all()
    assert np.isnan(scores.confidence).all() and np.isnan(scores.log_confidence).all()
    np.testing.assert_array_equal(scores.decision, UNDECIDED)


@pytest.mark.parametrize("block", [2, 100])
def test_the_nearest_are_found_in_blocks(block, feature_maps, references):
    head = GalleryHead(embedding("adaface"), references)
    cosines = cosines_by_hand(head.embedding, feature_maps, references)
    targets = jnp.array([4, 0, 6])
    found = head.ranking(feature_maps, targets, num_top=2, block=block)
    np.testing.assert_array_equal(found.classes, np.argsort(-cosines, 1)[:, :2])
    np.testing.assert_allclose(found.logits, -np.sort(-cosines, 1)[:, :2], atol=1e-6)
    own = cosines[np.arange(3), targets]
    np.testing.assert_allclose(found.target_logits, own, atol=1e-6)


def test_a_reference_is_the_unit_mean_of_unit_vectors():
    embeddings = np.array([[0, 2.0], [100, 0], [0, -3]], np.float32)
    found = references_of(embeddings, np.array([7, 7, 3]), ("a", "b", "c"))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[0, -1], [half, half]], rtol=1e-6)


def test_the_gallery_comes_through_jit_with_its_calibration(model, images):
    graphdef, arrays = split_model(model)

    @jax.jit
    def run(arrays, images):
        return saliency.clean_pass(join_model(graphdef, arrays), images).ranking

    ranking = run(arrays, images)
    assert ranking.calibration == CALIBRATION
    ratios = np.clip(4 * ranking.logits - 1, -2, 2)
    expected = 1 / (1 + np.exp(-ratios))
    np.testing.assert_allclose(ranking.probabilities, expected, rtol=1e-5)


@pytest.mark.slow
def test_methods_and_deletion_run_on_a_gallery(model, images):
    wanted = perturbations.grid(("mean",), (0.2,))
    batch = Batch(images[:2], jnp.zeros(2, int), jnp.arange(2), jnp.ones(2, bool))
    names = ("cam", "sdd", "fine_sdd", "input_gradients")
    methods = saliency.bind_methods(names, {})
    graphdef, arrays = split_model(model)

    @jax.jit
    def run(arrays, batch):
        model = join_model(graphdef, arrays)
        return study(model, batch, methods=methods, wanted=wanted, seed=0)

    found = run(arrays, batch)
    for explanation in found["explanations"].values():
        assert explanation.saliency.shape == (2, 17, 17)
        assert (np.ptp(explanation.saliency, axis=(1, 2)) > 0).all()
    confidence = found["perturbed"].confidence
    assert confidence.shape == (4, 2, 2)
    assert ((confidence > 0) & (confidence < 1)).all()
    assert set(np.unique(found["perturbed"].decision)) <= {NOBODY, *range(7)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_reference_that_is_no_direction_is_refused(bad, references):
    references[2] = bad
    message = r"NaN, infinite or 0 for 1 of 7 images \(the first: reference 2\)"
    with pytest.raises(InputError, match=message):
        GalleryHead(embedding("dlib"), references)
    with pytest.raises(InputError, match=r"\(the first: s2/1.pgm\)"):
        files = [f"s{i}/1.pgm" for i in range(7)]
        references_of(references, np.arange(7), files)


def test_what_does_not_fit_is_refused(classifier, model, references):
    with pytest.raises(InputError, match="PooledHead, makes no embeddings: take a"):
        with_gallery(classifier, references)
    with pytest.raises(InputError, match="references have 5 dimensions, but the net"):
        with_gallery(model, references[:, :5])
    with pytest.raises(InputError, match="no reference, expected at least one"):
        with_gallery(model, references[:0])
    maps = jnp.zeros((1, 4, 4, 5))
    with pytest.raises(InputError, match=r"targets\[0\] is 7, expected a class from 0"):
        model.scores(maps, jnp.array([7]))
    with pytest.raises(InputError, match=r"classes\[0, 0\] is -1"):
        model.class_maps(maps, jnp.array([[-1]]))
