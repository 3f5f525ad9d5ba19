"""energy_cam, fine_cam and fine_sdd, against their definition in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import models, sharding
from sdd_jax.errors import InputError
from sdd_jax.models import inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.saliency import METHODS, clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.fine_cam import softened_log_odds
from sdd_jax.saliency.placement import blurred, rescaled, unit

BACKBONES = {
    "ir_tiny": {"name": "ir_resnet", "arch": "ir_tiny"},
    "dlib": {"name": "dlib_resnet", "num_blocks": 8},
}
SIZES = {"ir_tiny": 64, "dlib": 80}
# The likeliest two classes, and one whose class map is nowhere above 0.
TARGETS = {"IRResNet": np.array([5, 2, 0]), "DlibResNet": np.array([3, 2, 4])}
OURS = ("energy_cam", "fine_cam", "fine_sdd")


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    head = {"name": "pooled", "num_classes": 6}
    model = models.build({"backbone": BACKBONES[request.param], "head": head})
    # Fewer pixels than they were made for, so that it takes seconds.
    model.spec = dataclasses.replace(model.spec, size=SIZES[request.param])
    return randomised(model)


def noise(model, number=3):
    size = model.spec.size
    # Coarse, so that there is something to see at every stage.
    small = np.random.default_rng(1).uniform(0, 255, (number, 10, 10, 3))
    return jnp.asarray(jax.image.resize(small, (number, size, size, 3), "linear"), "u1")


def targets_of(model):
    return TARGETS[type(model.backbone).__name__]


def explained(model, images, targets, **options):
    graphdef, arrays = split_model(model)

    @jax.jit
    def program(arrays, images, targets):
        model = join_model(graphdef, arrays)
        clean = clean_pass(model, images, targets, stages=True)
        key = jax.random.key(0)
        return {
            name: METHODS[name](model, clean, key, **options.get(name, {})).saliency
            for name in OURS
        }

    return program(arrays, images, jnp.asarray(targets))


def u(maps):
    maps = np.maximum(maps, 0)
    return np.stack([m / m.max() if m.max() > 0 else m for m in maps])


def by_hand(model, images, pairs, *, num_stages):
    """Return E, T and CAM, as the definitions have them, for each pair.

    Args:
        model: the classifier.
        images: of its size.
        pairs: of T's directions, [image, feature], and CAM's, likewise.
        num_stages: the deepest that count.
    """
    stages = model.stages[-num_stages:]
    size = images.shape[1:3]
    zero = jnp.zeros((len(images), 1, 1, 1))
    names = [stage.name for stage in stages]
    shapes = jax.eval_shape(model.with_taps, images, dict.fromkeys(names, zero))[1]
    taps = {name: jnp.zeros(shape.shape) for name, shape in shapes.items()}

    @jax.jit
    def gradients_of(directions):
        def total(taps):
            maps, activations = model.with_taps(images, taps)
            value = jnp.einsum("bhwf,bf->", maps, directions) / maps[0, ..., 0].size
            return value, (maps, activations)

        return jax.grad(total, has_aux=True)(taps)

    def place(cells_map, stage):
        return np.asarray(upsample(jnp.asarray(cells_map, "f4"), size, stage.cells))

    for directions, class_directions in pairs:
        gradients, (maps, activations) = gradients_of(jnp.asarray(directions, "f4"))
        energy = product = np.ones((len(images), *size))
        for stage in stages:
            a, g = (
                np.asarray(x[stage.name], np.float64) for x in (activations, gradients)
            )
            product = product * u(place((a * np.maximum(g, 0)).sum(3), stage))
            if stage is not stages[-1]:
                energy = energy * u(place((a**2).sum(3), stage))
        class_maps = np.einsum("bhwf,bf->bhw", np.asarray(maps), class_directions)
        yield energy, u(product), u(place(class_maps, stages[-1]))


def blur_by_hand(maps, sigma):
    """Return square maps, smoothed by a Gaussian of so many pixels."""
    distance = np.subtract.outer(np.arange(maps.shape[1]), np.arange(maps.shape[1]))
    weights = np.exp(-(distance**2) / (2 * sigma**2))
    weights = weights / weights.sum(1, keepdims=True)
    return np.einsum("yr,brc,xc->byx", weights, maps, weights)


def weights_of(model):
    """Return the class weights on the raw features, [class, feature], and the bias."""
    head = model.head
    deviation = np.asarray(head.feature_deviation[...], np.float64)
    weights = (np.asarray(head.kernel[...], np.float64) / deviation[:, None]).T
    bias = np.asarray(head.offset[...]) - weights @ np.asarray(head.feature_mean[...])
    return weights, bias


def assert_close(found, expected, tolerance):
    # A class whose class map is nowhere above 0 has a flat map, by definition.
    assert (expected.max((1, 2)) > 0).sum() >= 2
    difference = np.abs(np.asarray(found) - expected).max((1, 2))
    assert (difference <= tolerance * expected.max((1, 2))).all()


@pytest.mark.slow
def test_each_is_what_its_definition_says(model):
    num_stages = {"IRResNet": 3, "DlibResNet": 2}[type(model.backbone).__name__]
    images, targets = noise(model), targets_of(model)
    weights, bias = weights_of(model)
    pooled = np.asarray(jax.jit(model.feature_maps)(images), np.float64).mean((1, 2))
    logits = pooled @ weights.T + bias
    softened, directed = [], []
    for row, target in zip(logits, targets, strict=True):
        rivals = [c for c in range(6) if c != target]
        q = np.exp((row[rivals] - row[rivals].max()) / 2.5)
        softened.append(weights[target] - (q / q.sum()) @ weights[rivals])
        four = sorted(rivals, key=lambda c: -row[c])[:4]
        directed.append(weights[target] - weights[four].mean(0))
    softened, directed = np.array(softened), np.array(directed)
    centred = weights[targets] - weights.mean(0)
    for_cam, for_sdd = by_hand(
        model,
        images,
        [(softened, centred), (directed, directed)],
        num_stages=num_stages,
    )

    given = dict(num_stages=num_stages, blur=0.08)
    options = dict.fromkeys(OURS, given) | {"fine_cam": {**given, "temperature": 2.5}}
    found = explained(model, images, targets, **options)
    sigma = 0.08 * images.shape[2]
    energy, product, class_map = for_cam
    assert_close(found["energy_cam"], blur_by_hand(class_map * energy, sigma), 2e-5)
    expected = blur_by_hand(np.sqrt(product * class_map * energy), sigma)
    assert_close(found["fine_cam"], expected, 1e-3)
    energy, product, contrast = for_sdd
    expected = blur_by_hand(np.sqrt(product * contrast * energy), sigma)
    assert_close(found["fine_sdd"], expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_folded_network_has_the_same_maps(model, platform):
    images, targets = noise(model), targets_of(model)
    folded = inference.folded(model, platform=platform)
    expected = explained(model, images, targets)
    for name, saliency in explained(folded, images, targets).items():
        # A rectifier's kink is on either side of zero by rounding, in few places.
        assert_close(saliency, np.asarray(expected[name]), 2e-3)


@pytest.mark.slow
def test_eight_devices_with_parts_of_the_head_give_what_one_gives(model):
    folded = inference.folded(model, platform="cpu")
    images, targets = noise(model, 8), np.arange(8) % 6
    one = explained(folded, images, targets)
    with jax.set_mesh(sharding.make_mesh(8)):
        placed = models.placed(folded, divide_head=True)
        eight = explained(placed, sharding.shard_batch(np.asarray(images)), targets)
    for name in OURS:
        assert_close(eight[name], np.asarray(one[name]), 2e-3)


@pytest.mark.slow
def test_the_gradient_of_the_softened_log_odds_is_the_softened_direction(classifier):
    maps = jax.random.normal(jax.random.key(1), (7, 2, 2, 5))
    targets = jnp.arange(7)
    weights, _ = weights_of(classifier)
    logits = np.asarray(classifier.logits(maps), np.float64)
    for rivals in (1, 3, 6, 100):
        gradient = jax.grad(
            lambda maps, n=rivals: softened_log_odds(
                classifier, maps, targets, temperature=4.0, num_rivals=n
            ).sum()
        )(maps)
        for t in range(7):
            others = sorted(set(range(7)) - {t}, key=lambda c: -logits[t, c])[:rivals]
            if t not in np.argsort(-logits[t])[: rivals + 1]:
                # The target is below them all, and none of them is left out.
                others = np.argsort(-logits[t])[: rivals + 1]
            q = np.exp(logits[t, others] / 4)
            expected = weights[t] - (q / q.sum()) @ weights[others]
            np.testing.assert_allclose(
                gradient[t], np.broadcast_to(expected / 4, (2, 2, 5)), atol=1e-5
            )


@pytest.mark.slow
def test_a_temperature_of_one_gives_the_log_odds(classifier):
    maps = jax.random.normal(jax.random.key(2), (7, 2, 2, 5))
    p = np.asarray(jax.nn.softmax(classifier.logits(maps)), np.float64)[
        range(7), range(7)
    ]
    found = softened_log_odds(classifier, maps, jnp.arange(7), temperature=1.0)
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-3, atol=1e-4)


def test_one_stage_leaves_cam(classifier, images):
    clean = clean_pass(classifier, images, jnp.arange(8) % 7)
    cam = METHODS["cam"](classifier, clean, jax.random.key(0)).saliency
    options = dict(num_stages=1, blur=0.0)
    found = METHODS["energy_cam"](classifier, clean, jax.random.key(0), **options)
    np.testing.assert_allclose(found.saliency, unit(cam), rtol=1e-6)


def test_what_all_classes_share_changes_none_of_them(classifier, images):
    shared = nnx.clone(classifier)
    shared.head.kernel[...] += jnp.array([[3.0], [-1.0], [0.5], [2.0], [-4.0]])
    targets = np.arange(8) % 7
    before, after = (explained(m, images, targets) for m in (classifier, shared))
    for name in OURS:
        np.testing.assert_allclose(after[name], before[name], rtol=2e-3, atol=2e-4)


@pytest.mark.slow
def test_fine_sdd_tells_its_rivals(classifier, images):
    clean = clean_pass(classifier, images, jnp.arange(8) % 7)
    fine, sdd = (
        METHODS[name](classifier, clean, jax.random.key(0), num_classes_compared=4)
        for name in ("fine_sdd", "sdd")
    )
    np.testing.assert_array_equal(fine.details["rivals"], sdd.details["rivals"])


def test_blurring_keeps_a_flat_map_and_a_spots_weight():
    flat = jnp.full((2, 9, 12), 3.0)
    np.testing.assert_allclose(blurred(flat, 0.3), flat, rtol=1e-6)
    spot = jnp.zeros((1, 101, 101)).at[0, 50, 50].set(1.0)
    pixels = np.asarray(blurred(spot, 0.03), np.float64)[0]
    np.testing.assert_allclose(pixels.sum(), 1, rtol=1e-5)
    variance = (pixels.sum(0) * (np.arange(101) - 50) ** 2).sum()
    np.testing.assert_allclose(variance**0.5, 3.03, rtol=1e-3)
    np.testing.assert_array_equal(blurred(spot, 0.0), spot)


def test_scaling_leaves_no_nan_where_there_is_nothing_to_scale():
    maps = jnp.stack([jnp.eye(3) - 0.5, -jnp.eye(3) - 1, jnp.full((3, 3), 7.0)])
    np.testing.assert_array_equal(
        unit(maps), [np.eye(3), 0 * np.eye(3), np.ones((3, 3))]
    )
    expected = [np.eye(3), 1 - np.eye(3), np.zeros((3, 3))]
    np.testing.assert_array_equal(rescaled(maps), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_stages": 0}, "^num_stages is 0, expected a whole number from 1"),
        ({"blur": -0.1}, "^blur is -0.1, expected a number from 0 to 1"),
        ({"temperature": 0.0}, "^temperature is 0.0, expected a number above 0"),
        ({"num_rivals": 0}, "^num_rivals is 0, expected a whole number from 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(classifier, images, options, message):
    clean = clean_pass(classifier, images)
    with pytest.raises(InputError, match=message):
        METHODS["fine_cam"](classifier, clean, jax.random.key(0), **options)
