"""What is made of gradients by the image, against jax.grad, sums and completeness."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.models import inference
from sdd_jax.models.constants import constant_of, with_constants_seen
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.saliency import METHODS, clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.types import CellGrid

TARGETS = jnp.arange(8) % 7
KEYS = jax.random.split(jax.random.key(3), 8)


def explained(model, name, images, targets=TARGETS, key=KEYS, **options):
    graphdef, arrays = split_model(model)

    @jax.jit
    def program(arrays, images, targets):
        model = join_model(graphdef, arrays)
        return METHODS[name](model, clean_pass(model, images, targets), key, **options)

    return program(arrays, images, targets)


@pytest.fixture(scope="module")
def gradient_of(classifier):
    """Return the gradient of the target's logit by one normalised image."""

    @jax.jit
    def gradient_of(x, target):
        def logit(x):
            return classifier.logits(classifier.backbone(x[None]))[0, target]

        return jax.grad(logit)(x)

    return gradient_of


def test_the_channels_of_a_gradient_are_added_up_or_the_largest_is_taken(
    classifier, images, gradient_of
):
    x = classifier.normalised(images)
    gradients = np.stack([gradient_of(*pair) for pair in zip(x, TARGETS, strict=True)])
    found = {
        name: explained(classifier, "input_gradients", images, over_channels=name)
        for name in ("sum", "max")
    }
    expected = np.abs(gradients).sum(3)
    np.testing.assert_allclose(found["sum"].saliency, expected, rtol=1e-4, atol=1e-6)
    expected = np.abs(gradients).max(3)
    np.testing.assert_allclose(found["max"].saliency, expected, rtol=1e-4, atol=1e-6)
    found = explained(classifier, "gradient_x_input", images).saliency
    np.testing.assert_allclose(found, (x * gradients).sum(3), rtol=1e-4, atol=1e-5)


def test_integrated_gradients_are_the_mean_on_the_way_from_black(
    classifier, images, gradient_of
):
    x = np.asarray(classifier.normalised(images))
    black = np.asarray(classifier.normalised(0 * images))
    found = explained(classifier, "integrated_gradients", images, num_steps=4).saliency
    for place in range(2):
        total = 0
        for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8):
            point = black[place] + share * (x[place] - black[place])
            total = total + np.asarray(gradient_of(point, TARGETS[place]))
        expected = ((x[place] - black[place]) * total / 4).sum(2)
        np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_integrated_gradients_add_up_to_what_the_image_adds_to_black(
    classifier, images
):
    logits = [
        np.asarray(classifier.logits(classifier.feature_maps(x)))[range(8), TARGETS]
        for x in (images, 0 * images)
    ]
    gaps = []
    for num_steps in (4, 32, 512):
        options = dict(num_steps=num_steps)
        details = explained(
            classifier, "integrated_gradients", images, **options
        ).details
        np.testing.assert_allclose(
            details["difference"], logits[0] - logits[1], rtol=1e-3, atol=1e-4
        )
        gaps.append(np.abs(details["attributed"] - details["difference"]).max())
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 2e-3 * np.abs(details["difference"]).max()


def test_smooth_grad_without_noise_is_the_gradient(classifier, images):
    options = dict(noise=0.0, num_samples=3)
    found = explained(classifier, "smooth_grad", images, **options).saliency
    expected = explained(classifier, "input_gradients", images).saliency
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_smooth_grad_is_the_size_of_the_mean_gradient_of_noisy_copies(
    classifier, images, gradient_of
):
    found = explained(classifier, "smooth_grad", images, num_samples=3, noise=0.2)
    x = np.asarray(classifier.normalised(images))
    for place in range(2):
        image = x[place]
        total = 0
        for sample in range(3):
            drawn = jax.random.fold_in(KEYS[place], sample)
            normal = jax.random.normal(drawn, image.shape)
            noisy = image + 0.2 * (image.max() - image.min()) * normal
            total = total + np.asarray(gradient_of(noisy, TARGETS[place]))
        expected = np.abs(total / 3).sum(2)
        np.testing.assert_allclose(
            found.saliency[place], expected, rtol=1e-3, atol=1e-4
        )


BACKBONES = {
    "ir_tiny": {"name": "ir_resnet", "arch": "ir_tiny"},
    "dlib": {"name": "dlib_resnet", "num_blocks": 4},
}


@pytest.fixture(scope="module", params=BACKBONES)
def network(request):
    head = {"name": "pooled", "num_classes": 7}
    description = {"backbone": BACKBONES[request.param], "head": head}
    model = models.build(description)
    # Fewer pixels than they were made for, so that it takes seconds.
    model.spec = dataclasses.replace(model.spec, size=48)
    return randomised(model)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(5)
    return jnp.asarray(rng.integers(0, 256, (8, 48, 48, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["", "cpu", "gpu"])
def test_full_grad_is_complete(network, faces, platform):
    model = inference.folded(network, platform=platform) if platform else network
    found = explained(model, "full_grad", faces)
    logits = np.asarray(model.logits(jax.jit(model.feature_maps)(faces)))
    value = np.asarray(found.details["value"])
    np.testing.assert_allclose(value, logits[range(8), TARGETS], rtol=1e-3, atol=1e-4)
    scale = np.abs(value).max()
    np.testing.assert_allclose(
        found.details["attributed"], value, rtol=0, atol=1e-4 * scale
    )


@pytest.mark.slow
def test_full_grad_adds_up_scaled_maps_of_the_image_and_of_every_constant(
    network, faces
):
    """One constant at a time, spread over images and positions, by jax.grad."""
    images, targets = faces[:2], TARGETS[:2]
    found = explained(network, "full_grad", images, targets, KEYS[:2]).saliency
    x = network.normalised(images)

    def outputs(taps, x):
        """Run with taps in the order that layers come in; without, note the shapes."""
        seen = []

        def see(y, constant):
            seen.append((y.shape, constant))
            return y if taps is None else y + taps[len(seen) - 1]

        maps = with_constants_seen(network, see).backbone(x)
        return network.logits(maps)[jnp.arange(2), targets].sum(), seen

    seen = outputs(None, x)[1]
    taps = [jnp.zeros(shape) for shape, _ in seen]
    gradients, of_image = jax.jit(jax.grad(lambda *a: outputs(*a)[0], (0, 1)))(taps, x)

    def scaled(products):
        size = np.abs(np.asarray(products, np.float64))
        flat = size.reshape(2, -1)
        low = flat.min(1)[:, None, None, None]
        high = flat.max(1)[:, None, None, None]
        return ((size - low) / (high - low)).sum(3)

    expected = scaled(x * of_image)
    names = {s.name: jnp.zeros((2, 1, 1, 1)) for s in network.stages}
    shapes = jax.eval_shape(network.with_taps, images, names)[1]
    cells = {shapes[s.name].shape[1]: s.cells for s in network.stages}
    for gradient, (shape, constant) in zip(gradients, seen, strict=True):
        stride = 48 / shape[1]
        grid = cells.get(shape[1], CellGrid((stride - 1) / 2, stride))
        maps = jnp.asarray(scaled(gradient * constant), jnp.float32)
        expected = expected + np.asarray(upsample(maps, (48, 48), grid))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-2)


@pytest.mark.slow
def test_a_batch_norms_constant_is_what_it_makes_of_nothing(network):
    norms = [
        module
        for _, module in nnx.iter_graph(network.backbone)
        if isinstance(module, nnx.BatchNorm)
    ]
    for norm in norms:
        nothing = jnp.zeros((1, norm.mean.shape[0]))
        constant = constant_of(norm)
        assert constant is not None
        np.testing.assert_allclose(constant, norm(nothing)[0], atol=1e-5)


def test_looking_at_constants_leaves_the_model_as_it_was(network, faces):
    before = jax.jit(network.feature_maps)(faces[:1])
    doubled = with_constants_seen(network, lambda y, constant: y + constant)
    assert (jax.jit(doubled.feature_maps)(faces[:1]) != before).any()
    np.testing.assert_array_equal(jax.jit(network.feature_maps)(faces[:1]), before)


@pytest.mark.slow
def test_sobel_finds_an_edge_and_its_steepness(classifier):
    images = np.zeros((2, 17, 17, 3), np.uint8)
    images[0, :, 9:] = 80  # a step
    images[1] = (10 * np.arange(17))[:, None, None]  # a ramp, 10 a pixel
    clean = clean_pass(classifier, jnp.asarray(images))
    step, ramp = METHODS["sobel"](classifier, clean, KEYS[0]).saliency
    expected = np.zeros((17, 17))
    expected[:, 8:10] = 40
    np.testing.assert_allclose(step, expected, atol=1e-4)
    np.testing.assert_allclose(ramp[1:-1], 10, rtol=1e-5)


def test_activation_energy_is_the_sum_of_squares(classifier, images):
    clean = clean_pass(classifier, images, TARGETS)
    found = METHODS["activation_energy"](classifier, clean, KEYS[0]).saliency
    expected = (np.asarray(classifier.feature_maps(images)) ** 2).sum(3)
    np.testing.assert_allclose(found[:, 2:15:4, 2:15:4], expected, rtol=1e-5)
    by_name = functools.partial(METHODS["activation_energy"], classifier, clean)
    same = by_name(KEYS[0], stage="stage2").saliency
    np.testing.assert_allclose(same, found, rtol=1e-5)
    first = classifier.with_taps(images, {"stage1": jnp.zeros((8, 1, 1, 1))})[1]
    found = by_name(KEYS[0], stage="stage1").saliency
    expected = (np.asarray(first["stage1"]) ** 2).sum(3)
    np.testing.assert_allclose(found[:, 1:16, 1:16], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("input_gradients", {"over_channels": "mean"}, "^over_channels is 'mean': exp"),
        ("smooth_grad", {"over_channels": "l2"}, "^over_channels is 'l2': expected"),
        ("smooth_grad", {"num_samples": 0}, "^num_samples is 0, expected a whole num"),
        ("smooth_grad", {"noise": -0.1}, "^noise is -0.1, expected a number from 0"),
        ("integrated_gradients", {"num_steps": 0}, "^num_steps is 0, expected a whole"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    classifier, images, name, options, message
):
    clean = clean_pass(classifier, images)
    with pytest.raises(InputError, match=message):
        inspect.unwrap(METHODS[name])(classifier, clean, KEYS[0], **options)
