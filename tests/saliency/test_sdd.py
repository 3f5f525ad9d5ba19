import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import rank_logits
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.divergence import directed_exponent
from sdd_jax.saliency.sdd import compared_classes, sdd, top_rivals
from sdd_jax.types import CellGrid, InputSpec


def explain(model, images, targets, **options):
    """Return SDD's saliency and details of images."""
    clean = clean_pass(model, images, targets)
    return sdd(model, clean, jax.random.key(0), **options)


class Pixels(nnx.Module):
    """A backbone whose feature maps are the image."""

    cells = CellGrid(offset=0.0, stride=1.0)

    def __call__(self, x):
        return x


IMAGE = [[(4, 0, 2), (1, 3, 0)], [(0, 2, 5), (6, 1, 1)]]
WEIGHTS = [(3.0, -2.0, -3.0), (-2.0, -1.0, 3.0), (3.0, -2.0, 0.5)]  # of each class
BIAS = [0.0, 0.5, -0.25]


def by_hand(target, *, centre):
    """Return rivals, F, alpha and the divergence, from the definitions, in floats."""
    weights = WEIGHTS
    if centre:
        mean = [sum(w[k] for w in WEIGHTS) / 3 for k in range(3)]
        weights = [[w[k] - mean[k] for k in range(3)] for w in WEIGHTS]
    cells = [pixel for row in IMAGE for pixel in row]

    def class_map(w):
        return [sum(a * f for a, f in zip(w, cell, strict=True)) for cell in cells]

    logits = [sum(class_map(WEIGHTS[c])) / 4 + BIAS[c] for c in range(3)]
    rivals = sorted({0, 1, 2} - {target}, key=lambda c: -logits[c])
    maps = {c: class_map(weights[c]) for c in range(3)}
    largest = max(abs(x) for values in maps.values() for x in values)
    maps = {c: [x / largest for x in values] for c, values in maps.items()}
    rivals_sum = [sum(maps[c][i] for c in rivals) for i in range(4)]
    scale = sum(map(abs, rivals_sum)) / sum(map(abs, maps[target]))
    scale = min(max(scale, 2), 50)
    d = [scale * maps[target][i] - rivals_sum[i] for i in range(4)]
    amplification = min(max(2 / (max(d) - min(d)), 0.2), 0.4)
    values = [math.exp(amplification * (x - max(d))) for x in d]
    return rivals, scale, amplification, [values[:2], values[2:]]


@pytest.fixture
def pixels():
    head = PooledHead(3, 3)
    head.kernel[...] = jnp.array(WEIGHTS).T
    head.offset[...] = jnp.array(BIAS)
    return FaceClassifier(InputSpec(2, "RGB", (0.0, 0.0, 0.0), 1.0), Pixels(), head)


@pytest.mark.parametrize("centre", [False, True])
def test_three_classes_worked_by_hand(pixels, centre):
    image = jnp.array([IMAGE] * 3, jnp.uint8)
    program = jax.jit(functools.partial(explain, pixels, centre=centre))
    explanation = program(image, jnp.arange(3))
    details = explanation.details

    for target in range(3):
        rivals, scale, amplification, values = by_hand(target, centre=centre)
        np.testing.assert_array_equal(details["rivals"][target], rivals)
        np.testing.assert_allclose(details["scale"][target], scale, rtol=2e-6)
        np.testing.assert_allclose(
            details["amplification"][target], amplification, rtol=2e-6
        )
        np.testing.assert_allclose(explanation.saliency[target], values, rtol=2e-6)


def test_the_hand_worked_case_meets_the_rules_inside_and_at_their_limits():
    cases = [by_hand(t, centre=c) for t in range(3) for c in (False, True)]
    assert min(case[1] for case in cases) == 2 < max(case[1] for case in cases)
    assert min(case[2] for case in cases) < 0.4


@pytest.mark.slow
def test_the_divergence_of_the_cells_is_placed_as_their_maps_are(classifier, images):
    # The exponential comes first, and between centres there is a mean of its values.
    targets = jnp.arange(8) % 7
    explanation = jax.jit(functools.partial(explain, classifier))(images, targets)
    classes = jnp.concatenate([targets[:, None], explanation.details["rivals"]], axis=1)
    maps = classifier.class_maps(classifier.feature_maps(images), classes, centre=True)
    cells = jnp.exp(directed_exponent(maps[:, 0], maps[:, 1:])[0])

    saliency = explanation.saliency
    np.testing.assert_allclose(saliency[:, 2:15:4, 2:15:4], cells, atol=1e-6)
    np.testing.assert_allclose(
        saliency[:, 4:15:4, 2:15:4], (cells[:, 1:] + cells[:, :-1]) / 2, atol=1e-6
    )
    np.testing.assert_array_equal(
        saliency[:, :3, :3], jnp.broadcast_to(saliency[:, 2:3, 2:3], (8, 3, 3))
    )


def test_given_scale_and_amplification_hold_for_every_image(classifier, images):
    program = functools.partial(explain, classifier, scale=6.0, amplification=0.7)
    details = jax.jit(program)(images, jnp.arange(8) % 7).details
    np.testing.assert_array_equal(details["scale"], [6.0] * 8)
    np.testing.assert_array_equal(details["amplification"], [np.float32(0.7)] * 8)


@pytest.mark.slow
@pytest.mark.parametrize("compared", [2, 4, 6, 100])
def test_the_rivals_do_not_depend_on_how_many_classes_the_clean_pass_ranked(
    classifier, images, compared
):
    targets = jnp.arange(8) % 7
    few, all_of_them = (
        clean_pass(classifier, images, targets, num_top=number) for number in (4, 7)
    )
    one, other = (
        sdd(classifier, clean, jax.random.key(0), num_classes_compared=compared)
        for clean in (few, all_of_them)
    )
    assert one.details["rivals"].shape == (8, min(compared, 7) - 1)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_all_classes_share_changes_no_explanation(classifier, images):
    targets = jnp.arange(8) % 7
    before = jax.jit(functools.partial(explain, classifier))(images, targets)
    shared = nnx.clone(classifier)
    shared.head.kernel[...] += jnp.array([[3.0], [-1.0], [0.5], [2.0], [-4.0]])
    after = jax.jit(functools.partial(explain, shared))(images, targets)

    np.testing.assert_array_equal(after.details["rivals"], before.details["rivals"])
    np.testing.assert_allclose(after.saliency, before.saliency, rtol=1e-5)
    for name in ("scale", "amplification"):
        np.testing.assert_allclose(after.details[name], before.details[name], rtol=1e-5)


def test_every_target_competes_with_the_likeliest_others(classifier, images):
    logits = classifier.logits(classifier.feature_maps(images))
    targets = jnp.arange(8) % 7
    program = functools.partial(explain, classifier, num_classes_compared=4)
    found = jax.jit(program)(images, targets).details["rivals"]
    for row, target, rivals in zip(logits, targets, found, strict=True):
        others = [c for c in np.argsort(-row)[:4] if c != target]
        np.testing.assert_array_equal(rivals, others[:3])


def test_a_target_among_the_top_classes_leaves_the_others_of_them():
    logits = jnp.array([[1.0, 9.0, 3.0, 7.0, 5.0, 0.0]] * 3)
    rivals, _ = top_rivals(rank_logits(logits, num_top=5), jnp.array([1, 4, 0]))
    np.testing.assert_array_equal(rivals, [[3, 4, 2, 0], [1, 3, 2, 0], [1, 3, 4, 2]])


def test_a_target_below_the_top_classes_meets_the_first_of_them():
    logits = jnp.array([[1.0, 9.0, 3.0, 7.0, 5.0, 0.0]])
    rivals, _ = top_rivals(rank_logits(logits, num_top=5), jnp.array([5]))
    np.testing.assert_array_equal(rivals, [[1, 3, 4, 2]])
    rivals, _ = top_rivals(rank_logits(logits, num_top=3), jnp.array([2]))
    np.testing.assert_array_equal(rivals, [[1, 3]])


def test_rivals_come_with_their_probabilities():
    logits = jnp.array([[1.0, 9.0, 3.0, 7.0, 5.0, 0.0]])
    rivals, probabilities = top_rivals(rank_logits(logits, num_top=4), jnp.array([3]))
    np.testing.assert_allclose(
        probabilities, jax.nn.softmax(logits)[:, rivals[0]], rtol=1e-6
    )


def test_equal_logits_keep_the_order_of_the_classes():
    logits = jnp.array([[2.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]])
    rivals, _ = top_rivals(rank_logits(logits, num_top=5), jnp.array([2]))
    np.testing.assert_array_equal(rivals, [[0, 3, 1, 4]])


def test_all_classes_are_compared_where_there_are_fewer():
    logits = jnp.array([[1.0, 3.0, 2.0]])
    rivals, _ = top_rivals(rank_logits(logits, num_top=5), jnp.array([1]))
    np.testing.assert_array_equal(rivals, [[2, 0]])


@pytest.mark.parametrize(("compared", "num_classes"), [(1, 5), (0, 5), (5, 1)])
def test_a_divergence_needs_a_rival(classifier, images, compared, num_classes):
    head = PooledHead(5, num_classes)
    model = FaceClassifier(classifier.spec, classifier.backbone, head)
    with pytest.raises(
        InputError,
        match=f"^num_classes_compared is {compared} among {num_classes} classes, "
        f".*: use at least 2$",
    ):
        compared_classes(model, clean_pass(model, images), compared)


@pytest.mark.slow
def test_after_upsampling_alpha_is_a_power_and_changes_no_order(classifier, images):
    targets = jnp.arange(8) % 7

    def saliency(alpha, upsample_first):
        options = {"amplification": alpha, "upsample_first": upsample_first}
        return explain(classifier, images, targets, **options).saliency

    once, twice = saliency(0.25, True), saliency(0.5, True)
    np.testing.assert_allclose(twice, once**2, rtol=1e-5)
    once, twice = saliency(0.25, False), saliency(0.5, False)
    assert not np.allclose(twice, once**2, rtol=1e-2)
    # Where a cell has its centre, nothing is between others: both are the same.
    at_centres = np.ix_(range(8), (2, 6, 10, 14), (2, 6, 10, 14))
    first = saliency(0.25, True)
    np.testing.assert_allclose(first[at_centres], once[at_centres], rtol=1e-5)
