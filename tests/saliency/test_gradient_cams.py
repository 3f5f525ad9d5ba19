"""The CAMs of one network by its gradients, against loops written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.saliency import METHODS, clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.eigen_cam import first_component
from sdd_jax.saliency.grad_cam_plus_plus import grad_cam_plus_plus_map
from sdd_jax.types import CellGrid

TARGETS = np.arange(8) % 7
STAGES = ("stage1", "stage2")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def explain(classifier, images):
    """Compiled, on all images."""

    def explain(name, targets=TARGETS, **options):
        @jax.jit
        def program(images, targets):
            clean = clean_pass(classifier, images, targets)
            return METHODS[name](classifier, clean, KEY, **options)

        return program(images, jnp.asarray(targets))

    return explain


def second_half(classifier, stage1):
    """Return the feature maps of the first stage's activations."""
    x = jax.lax.conv_general_dilated(
        stage1[None],
        classifier.backbone.kernels[1][...],
        window_strides=(4, 4),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.where(x > 0, x, x / 4)


def logits_of(classifier, feature_maps):
    head = classifier.head
    pooled = feature_maps[0].mean((0, 1))
    features = (pooled - head.feature_mean[...]) / head.feature_deviation[...]
    return features @ head.kernel[...] + head.offset[...]


@pytest.fixture(scope="module")
def by_stage(classifier, images):
    """Return {stage: (activations, gradients of the targets' logits)}, an image each.

    One image at a time, and nothing of the taps.
    """
    first = classifier.with_taps(images, {"stage1": jnp.zeros((8, 1, 1, 1))})[1]
    found = {stage: ([], []) for stage in STAGES}
    for stage1, target in zip(first["stage1"], TARGETS, strict=True):
        maps = second_half(classifier, stage1)
        for stage, activation, logits in (
            (
                "stage1",
                stage1,
                lambda a: logits_of(classifier, second_half(classifier, a)),
            ),
            ("stage2", maps[0], lambda a: logits_of(classifier, a[None])),
        ):
            gradient = jax.grad(lambda a, f=logits, t=target: f(a)[t])(activation)
            found[stage][0].append(np.asarray(activation, np.float64))
            found[stage][1].append(np.asarray(gradient, np.float64))
    return found


def relu(x):
    return np.maximum(x, 0)


def grad_cam_by_hand(activation, gradient):
    total = np.zeros(activation.shape[:2])
    for k in range(activation.shape[2]):
        total += gradient[..., k].mean() * activation[..., k]
    return relu(total)


def grad_cam_plus_plus_by_hand(activation, gradient):
    total = np.zeros(activation.shape[:2])
    for k in range(activation.shape[2]):
        a, g = activation[..., k], gradient[..., k]
        weight = 0.0
        for place in np.ndindex(g.shape):
            if g[place] != 0:
                alpha = g[place] ** 2 / (2 * g[place] ** 2 + a.sum() * g[place] ** 3)
                weight += alpha * relu(g[place])
        total += weight * a
    return relu(total)


def hires_cam_by_hand(activation, gradient):
    return sum(
        activation[..., k] * gradient[..., k] for k in range(activation.shape[2])
    )


def xgrad_cam_by_hand(activation, gradient):
    total = np.zeros(activation.shape[:2])
    for k in range(activation.shape[2]):
        share = activation[..., k] / activation[..., k].sum()
        total += (share * gradient[..., k]).sum() * activation[..., k]
    return relu(total)


def layer_cam_by_hand(activation, gradient):
    return relu(
        sum(
            relu(gradient[..., k]) * activation[..., k]
            for k in range(activation.shape[2])
        )
    )


BY_HAND = {
    "grad_cam": grad_cam_by_hand,
    "grad_cam_plus_plus": grad_cam_plus_plus_by_hand,
    "hires_cam": hires_cam_by_hand,
    "xgrad_cam": xgrad_cam_by_hand,
    "layer_cam": layer_cam_by_hand,
}


def placed(classifier, maps, stage):
    cells = classifier.stages[STAGES.index(stage)].cells
    return np.asarray(upsample(jnp.asarray(maps, jnp.float32), (17, 17), cells))


def assert_close(found, expected, tolerance=1e-5):
    difference = np.abs(np.asarray(found) - expected).max((1, 2))
    assert (difference <= tolerance * np.abs(expected).max((1, 2))).all()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [*STAGES, None])
@pytest.mark.parametrize("name", BY_HAND)
def test_each_method_is_its_papers_formula(explain, by_stage, classifier, name, stage):
    maps = [
        BY_HAND[name](*pair) for pair in zip(*by_stage[stage or "stage2"], strict=True)
    ]
    expected = placed(classifier, maps, stage or "stage2")
    # Dividing by a sum of signed activations, or by 2 and a sum, costs digits.
    tolerance = 2e-4 if name in ("xgrad_cam", "grad_cam_plus_plus") else 1e-5
    assert_close(explain(name, stage=stage).saliency, expected, tolerance)


def test_on_the_last_stage_three_of_them_are_class_maps(explain, classifier, images):
    targets = jnp.asarray(TARGETS)[:, None]
    maps = classifier.class_maps(classifier.feature_maps(images), targets)
    maps = np.asarray(maps[:, 0]) / 16  # cells
    assert_close(
        explain("hires_cam").saliency, placed(classifier, maps, "stage2"), 1e-4
    )
    rectified = placed(classifier, relu(maps), "stage2")
    assert_close(explain("grad_cam").saliency, rectified, 1e-4)
    assert_close(explain("xgrad_cam").saliency, rectified, 1e-4)


@pytest.mark.slow
def test_fused_layer_cam_is_the_largest_of_the_squashed_maps(
    explain, by_stage, classifier
):
    layers = []
    for stage in STAGES:
        maps = np.stack(
            [layer_cam_by_hand(*pair) for pair in zip(*by_stage[stage], strict=True)]
        )
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        layers.append(
            placed(classifier, np.tanh(3 * (maps - low) / (high - low)), stage)
        )
    found = explain("layer_cam", stages=STAGES, sharpness=3.0).saliency
    assert_close(found, np.maximum(*layers))


def test_refine_cam_is_the_product_over_the_stages(explain, by_stage, classifier):
    product = np.ones((8, 17, 17))
    for stage in STAGES:
        maps = np.stack(
            [
                grad_cam_plus_plus_by_hand(*pair)
                for pair in zip(*by_stage[stage], strict=True)
            ]
        )
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        product = product * placed(classifier, (maps - low) / (high - low), stage)
    low, high = product.min((1, 2), keepdims=True), product.max((1, 2), keepdims=True)
    assert_close(explain("refine_cam").saliency, (product - low) / (high - low), 1e-3)


@pytest.mark.slow
def test_what_is_small_or_zero_stays_finite_and_scales_grad_cam_plus_plus():
    rng = np.random.default_rng(0)
    activations = jnp.asarray(rng.uniform(0, 1, (2, 3, 3, 4)), jnp.float32)
    gradients = rng.normal(0, 1e-12, (2, 3, 3, 4))
    gradients[0, :, :, 1] = 0
    gradients[1] = 0
    maps = grad_cam_plus_plus_map(activations, jnp.asarray(gradients, jnp.float32))
    # Next to 2, sums of such gradients are nothing: alpha is one half.
    weights = relu(gradients).sum((1, 2)) / 2
    expected = np.einsum("bhwk,bk->bhw", activations, weights)
    np.testing.assert_allclose(maps, expected, rtol=1e-5)
    opposite = jnp.full((1, 2, 2, 1), -2.0)  # 2 + 4 (-2) / 4 = 0: no alpha
    assert (grad_cam_plus_plus_map(opposite, jnp.full((1, 2, 2, 1), 0.25)) == 0).all()


@pytest.mark.slow
def test_finer_cam_is_grad_cam_of_a_weighted_difference(
    explain, classifier, images, by_stage
):
    found = explain("finer_cam", strength=0.7, num_references=2, stage="stage1")
    logits = np.asarray(classifier.logits(classifier.feature_maps(images)), np.float64)
    for place, target in enumerate(TARGETS):
        others = [c for c in range(7) if c != target]
        others.sort(key=lambda c: abs(logits[place, c] - logits[place, target]))
        np.testing.assert_array_equal(found.details["references"][place], others[:2])
    maps = []
    for stage1, target, references in zip(
        by_stage["stage1"][0], TARGETS, found.details["references"], strict=True
    ):

        def difference(a, target=target, references=references):
            logits = logits_of(classifier, second_half(classifier, a))
            p = jax.nn.softmax(logits)[references]
            return (p * (logits[target] - 0.7 * logits[references])).sum() / p.sum()

        activation = jnp.asarray(stage1, jnp.float32)
        gradient = np.asarray(jax.grad(difference)(activation), np.float64)
        maps.append(grad_cam_by_hand(stage1, gradient))
    assert_close(found.saliency, placed(classifier, maps, "stage1"), 1e-4)


def test_all_other_classes_are_references_where_there_are_fewer(explain):
    assert explain("finer_cam", num_references=100).details["references"].shape == (
        8,
        6,
    )


@pytest.mark.parametrize("shape", [(4, 3, 3), (2, 2, 9)], ids=["tall", "wide"])
@pytest.mark.parametrize("centre", [False, True])
def test_eigen_cam_is_the_first_singular_vectors_projection(shape, centre):
    rng = np.random.default_rng(4)
    activations = rng.normal(0.3, 1, (5, *shape))
    found = first_component(jnp.asarray(activations, jnp.float32), centre=centre)
    for image, maps in zip(activations, found, strict=True):
        matrix = image.reshape(-1, shape[2])
        squares = (matrix**2).sum(1)
        matrix = matrix - matrix.mean(0) * centre
        expected = matrix @ np.linalg.svd(matrix)[2][0]
        expected *= np.sign((expected * squares).sum())
        np.testing.assert_allclose(np.ravel(maps), expected, atol=1e-4)


def test_eigen_cam_of_rectified_activations_is_nowhere_negative():
    activations = jax.random.uniform(KEY, (3, 4, 4, 6))
    assert (first_component(activations) > 0).all()
    np.testing.assert_array_equal(first_component(0 * activations), 0)


@pytest.mark.slow
def test_eigen_cam_takes_the_stage_asked_for(explain, by_stage, classifier):
    for stage in STAGES:
        activations = jnp.asarray(np.stack(by_stage[stage][0]), jnp.float32)
        expected = placed(classifier, first_component(activations), stage)
        assert_close(explain("eigen_cam", stage=stage).saliency, expected, 1e-4)


@pytest.mark.slow
def test_a_class_that_nothing_speaks_for_has_a_flat_map(classifier, images):
    silent = nnx.clone(classifier)
    silent.head.kernel[...] = jnp.zeros((5, 7))
    names = ["grad_cam", "grad_cam_plus_plus", "xgrad_cam", "layer_cam", "refine_cam"]
    names += ["finer_cam", "energy_cam", "fine_cam", "fine_sdd"]

    @jax.jit
    def program(images):
        clean = clean_pass(silent, images, jnp.asarray(TARGETS))
        return {name: METHODS[name](silent, clean, KEY).saliency for name in names}

    for name, saliency in program(images).items():
        np.testing.assert_array_equal(saliency, 0, err_msg=name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("grad_cam", {"stage": "stage9"}, "^unknown stage 'stage9': expected some of"),
        ("eigen_cam", {"stage": "stage9"}, "^unknown stage 'stage9': expected one of"),
        ("refine_cam", {"stages": ("x",)}, "^unknown stage 'x': expected some of"),
        ("layer_cam", {"stages": ()}, r"^stage is None and stages are \[\]: expected"),
        (
            "layer_cam",
            {"stage": "stage1", "stages": ("stage1",)},
            r"^stage is 'stage1' and stages are \['stage1'\]: expected one stage, or",
        ),
        ("layer_cam", {"sharpness": 0.0}, "^sharpness is 0.0, expected a number above"),
        ("finer_cam", {"num_references": 0}, "^num_references is 0, expected a whole"),
        ("finer_cam", {"strength": -1.0}, "^strength is -1.0, expected a number from"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    classifier, images, name, options, message
):
    clean = clean_pass(classifier, images, jnp.asarray(TARGETS))
    with pytest.raises(InputError, match=message):
        METHODS[name](classifier, clean, KEY, **options)


def test_the_cells_of_the_first_stage_are_pixels(classifier):
    # What `placed` relies on: the fixture's stages lie where its convolutions put them.
    assert [stage.cells for stage in classifier.stages] == [
        CellGrid(1.0, 1.0),
        CellGrid(2.0, 4.0),
    ]
