import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import models, sharding
from sdd_jax.errors import InputError
from sdd_jax.models import inference
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.saliency import CleanPass, clean_pass, stage_gradients
from sdd_jax.saliency.gradients import OBJECTIVES, stage_activations
from sdd_jax.types import InputSpec, Scores

BACKBONES = {
    "ir_tiny": {"name": "ir_resnet", "arch": "ir_tiny"},
    "dlib": {"name": "dlib_resnet", "num_blocks": 5},
    "sface": {"name": "sface", "num_blocks": 4},
}
TARGETS = jnp.array([1, 4, 0])


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    head = {"name": "pooled", "num_classes": 6}
    return randomised(
        models.build({"backbone": BACKBONES[request.param], "head": head})
    )


def noise(model, number=3):
    size = model.spec.size
    pixels = np.random.default_rng(1).integers(0, 256, (number, size, size, 3))
    return jnp.asarray(pixels, jnp.uint8)


def gradients_of(model, images, targets=TARGETS, **options):
    graphdef, arrays = split_model(model)

    @jax.jit
    def program(arrays, images):
        model = join_model(graphdef, arrays)
        return stage_gradients(model, clean_pass(model, images, targets), **options)

    return program(arrays, images)


def assert_close(actual, expected, tolerance):
    assert actual.shape == expected.shape
    difference = np.abs(np.asarray(actual) - np.asarray(expected))
    assert difference.max() <= tolerance * np.abs(expected).max()


class WideHead(nnx.Module):
    """The mean over positions, times a matrix, in whatever precision it is given."""

    def __init__(self, kernel):
        self.kernel = nnx.Param(kernel)

    def scores(self, feature_maps, targets):
        logits = feature_maps.mean((1, 2)) @ self.kernel[...]
        log_softmax = jax.nn.log_softmax(logits)
        chosen = (jnp.arange(len(logits)), targets)
        log_confidence = log_softmax[chosen]
        return Scores(
            logits[chosen], jnp.exp(log_confidence), log_confidence, logits.argmax(1)
        )

    num_classes = 6


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_are_finite_differences_in_float64(name):
    options: dict[str, Any] = dict(BACKBONES[name])
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        backbone_class, spec = models.classifier.BACKBONES[options.pop("name")]
        if name in ("ir_tiny", "sface"):
            options["dtype"] = jnp.float64
        backbone = randomised(backbone_class(**options, rngs=rngs))
        backbone.set_attributes(use_running_average=True, raise_if_not_found=False)
        graphdef, state = nnx.split(backbone)
        state = jax.tree.map(lambda x: x.astype(jnp.float64), state)
        size = 48  # pixels, so that it takes seconds
        spec = InputSpec(size, spec.colour_order, spec.mean, spec.scale)
        rng = np.random.default_rng(2)
        head = WideHead(jnp.asarray(rng.normal(0, 1, (backbone.num_features, 6))))
        model = FaceClassifier(spec, nnx.merge(graphdef, state), head)
        images = jnp.asarray(rng.integers(0, 256, (1, size, size, 3)), jnp.uint8)
        targets, against = jnp.array([2]), jnp.array([5])
        clean = CleanPass(images, None, None, targets)
        for objective in OBJECTIVES:
            is_contrast = objective == "contrast"
            found = jax.jit(
                functools.partial(
                    inspect.unwrap(stage_gradients),
                    objective=objective,
                    against=against if is_contrast else None,
                )
            )(model, clean)

            @jax.jit
            def value(taps, objective=objective):
                maps, _ = model.with_taps(images, taps)
                return OBJECTIVES[objective](model, maps, targets, against)[0]

            np.testing.assert_allclose(found.value[0], value({}), rtol=1e-12)
            assert list(found.gradients) == [stage.name for stage in model.stages]
            for stage, gradient in found.gradients.items():
                assert gradient.dtype == jnp.float64
                # A sum of rectified zeros is a rectifier's kink, so zeros stay.
                is_moved = found.activations[stage] != 0
                direction = rng.normal(0, 1, gradient.shape) * is_moved
                step = 1e-6 / np.abs(direction).max()
                up, down = (
                    value({stage: jnp.asarray(sign * step * direction)})
                    for sign in (1, -1)
                )
                expected = (gradient * direction).sum()
                np.testing.assert_allclose(
                    (up - down) / (2 * step), expected, rtol=1e-5
                )


@pytest.mark.slow
def test_at_the_last_stage_a_logits_gradient_is_the_class_weight_over_the_cells(model):
    found = gradients_of(model, noise(model))
    last = model.stages[-1]
    assert last.cells == model.cells
    gradient = found.gradients[last.name]
    weights = np.asarray(model.head.class_weights)[:, TARGETS].T
    expected = weights[:, None, None] / np.prod(gradient.shape[1:3])
    np.testing.assert_allclose(
        gradient, np.broadcast_to(expected, gradient.shape), rtol=1e-5
    )
    maps = jax.jit(model.feature_maps)(noise(model))
    assert_close(found.activations[last.name], maps, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_folded_network_has_the_same_gradients(model, platform, objective):
    images = noise(model)
    against = jnp.array([0, 1, 2]) if objective == "contrast" else None
    options = dict(objective=objective, against=against)
    folded = inference.folded(model, platform=platform)
    assert folded.stages == model.stages
    found = gradients_of(folded, images, **options)
    expected = gradients_of(model, images, **options)
    assert_close(found.value, expected.value, 1e-5)
    for stage in model.stages:
        name = stage.name
        assert_close(found.activations[name], expected.activations[name], 1e-5)
        # A rectifier's kink is on either side of zero by rounding, in few places.
        difference = np.abs(found.gradients[name] - expected.gradients[name])
        largest = np.abs(expected.gradients[name]).max()
        assert (difference > 1e-4 * largest).mean() < 1e-3


@pytest.mark.slow
def test_the_cells_of_the_stages_lie_as_the_network_has_them(model):
    found = gradients_of(model, noise(model, 3))
    size = model.spec.size
    strides = [stage.cells.stride for stage in model.stages]
    assert strides == sorted(set(strides))
    for stage in model.stages:
        cells, (_, rows, columns, _) = (
            stage.cells,
            found.activations[stage.name].shape,
        )
        assert rows == columns
        # All centres lie in the image, and two cells more would not.
        assert 0 <= cells.offset
        assert cells.offset + cells.stride * (rows - 1) <= size - 1
        assert cells.offset + cells.stride * (rows + 1) >= size - 1


@pytest.mark.slow
def test_each_objective_is_what_it_says(model):
    images = noise(model)
    logits = np.asarray(model.logits(jax.jit(model.feature_maps)(images)))
    rows, against = np.arange(3), jnp.array([5, 0, 3])
    values = {
        objective: gradients_of(
            model,
            images,
            objective=objective,
            against=against if objective == "contrast" else None,
            stages=[],
        ).value
        for objective in OBJECTIVES
    }
    np.testing.assert_allclose(values["logit"], logits[rows, TARGETS], rtol=1e-4)
    np.testing.assert_allclose(
        values["log_probability"],
        jax.nn.log_softmax(logits)[rows, TARGETS],
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        values["contrast"], logits[rows, TARGETS] - logits[rows, against], rtol=1e-3
    )


def test_an_objective_may_be_any_function_of_the_feature_maps(model):
    images = noise(model)
    weights = jnp.asarray(
        np.random.default_rng(3).normal(0, 1, model.head.kernel.shape)
    )

    def objective(feature_maps):
        return (feature_maps @ weights[:, 2]).max((1, 2)) ** 2

    stages = [stage.name for stage in model.stages]
    found = gradients_of(model, images, objective=objective)
    assert list(found.gradients) == stages
    maps = found.activations[stages[-1]]
    value, gradient = jax.value_and_grad(lambda maps: objective(maps).sum())(maps)
    np.testing.assert_allclose(found.value.sum(), value, rtol=1e-5)
    assert_close(found.gradients[stages[-1]], gradient, 1e-5)


def test_activations_alone_are_those_that_come_with_gradients(model):
    images = noise(model)
    names = [model.stages[-1].name, model.stages[0].name]
    found = gradients_of(model, images, stages=names)

    @jax.jit
    def alone(images):
        return stage_activations(model, CleanPass(images, None, None, TARGETS), names)

    activations = alone(images)
    assert set(activations) == set(names)
    for name in names:
        assert_close(activations[name], found.activations[name], 1e-5)


@pytest.mark.slow
def test_a_clean_pass_that_keeps_its_stages_gives_the_same_gradients(model):
    images = noise(model)
    names = [model.stages[-1].name, model.stages[0].name]
    expected = gradients_of(model, images, stages=names)
    graphdef, arrays = split_model(model)

    @jax.jit
    def program(arrays, images):
        model = join_model(graphdef, arrays)
        clean = clean_pass(model, images, TARGETS, stages=True)
        alone = stage_activations(model, clean, names)
        return stage_gradients(model, clean, stages=names), alone

    found, alone = program(arrays, images)
    assert_close(found.value, expected.value, 1e-5)
    for name in names:
        assert_close(found.gradients[name], expected.gradients[name], 1e-4)
        assert_close(found.activations[name], expected.activations[name], 1e-5)
        np.testing.assert_array_equal(alone[name], found.activations[name])


@pytest.mark.slow
def test_a_target_that_is_all_but_impossible_has_finite_gradients(model):
    far = nnx.clone(model)
    far.head.offset[...] = far.head.offset[...].at[1].add(-500.0)
    images, targets = noise(model), jnp.array([1, 1, 1])
    found = gradients_of(far, images, targets, objective="log_probability")
    confidence = far.scores(jax.jit(far.feature_maps)(images), targets).confidence
    np.testing.assert_array_equal(confidence, 0)
    assert (found.value < -400).all()
    for gradient in found.gradients.values():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(model):
    folded = inference.folded(model, platform="cpu")
    images, targets = noise(model, 8), jnp.arange(8) % 6
    one = gradients_of(folded, images, targets)
    with jax.set_mesh(sharding.make_mesh(8)):
        placed = models.placed(folded)
        eight = gradients_of(placed, sharding.shard_batch(np.asarray(images)), targets)
    for a, b in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
        assert_close(a, b, 1e-5)


def test_only_the_stages_asked_for_are_given(model):
    found = gradients_of(model, noise(model), stages=["stage2"])
    assert list(found.gradients) == list(found.activations) == ["stage2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ["stage9"]}, "^unknown stage 'stage9': expected some of stage1, "),
        ({"objective": "loss"}, "^unknown objective 'loss': expected one of logit, "),
        ({"objective": "contrast"}, "'contrast' and the class .* is missing: "),
        ({"against": jnp.zeros(3, int)}, "'logit' and the class .* is given: "),
        (
            {"objective": "contrast", "against": jnp.array([0, 6, 0])},
            r"^against\[1\] is 6, expected a class from 0 to 5$",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(model, options, message):
    clean = CleanPass(noise(model), None, None, TARGETS)
    with pytest.raises(InputError, match=message):
        stage_gradients(model, clean, **options)
