import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import FILLS, Outcome, Perturbation, grid, perturbed_outcomes
from sdd_jax.faithfulness.curves import (
    CURVE_METRICS,
    FRACTIONS,
    curve_grid,
    deletion_auc,
    insertion_auc,
    measured_fills,
    relative_confidence,
    srg,
)
from sdd_jax.faithfulness.perturbations import counts_of
from sdd_jax.faithfulness.ranks import ranks
from sdd_jax.faithfulness.statistics import bootstrap_means, estimate

HALVES = curve_grid(("mean",), (0.5,))


def outcomes(values):
    """Return confidences as outcomes, whose decisions no curve depends on."""
    values = np.asarray(values, np.float32)
    return Outcome(values, np.zeros(values.shape, np.int32))


def keys(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


def test_the_grid_has_both_orders_mirrored_fractions_and_all_filled_once():
    knots = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    wanted = curve_grid(("black", "mean"))
    assert set(FRACTIONS) < set(knots)
    expected = {
        Perturbation(order, fill, fraction)
        for fill in ("black", "mean")
        for order in ("deletion", "retention")
        for fraction in knots
    }
    filled = {Perturbation("deletion", fill, 1.0) for fill in ("black", "mean")}
    assert set(wanted) == expected | filled
    assert len(wanted) == len(set(wanted)) == 2 * (2 * len(knots) + 1)
    assert set(grid(("mean",), (0.2,))) < set(wanted)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_of_a_curve_is_inside_it(fraction):
    with pytest.raises(InputError, match="^fraction is .*, expected a number"):
        curve_grid(("mean",), (fraction,))


def test_curves_and_areas_worked_by_hand():
    # Deletion: 1, 0.25, 0.125; retention: 0.125, 0.75, 1.
    assert [each[::2] for each in HALVES] == [
        ("deletion", 0.5),
        ("retention", 0.5),
        ("deletion", 1.0),
    ]
    intact, perturbed = outcomes([0.8]), outcomes([[0.2], [0.6], [0.1]])
    arguments = "mean", intact, perturbed, HALVES
    for order, values in (
        ("deletion", [1, 0.25, 0.125]),
        ("retention", [0.125, 0.75, 1]),
    ):
        curve = relative_confidence(order, *arguments)
        np.testing.assert_array_equal(curve.fractions, [0, 0.5, 1])
        np.testing.assert_allclose(curve.values[:, 0], values, rtol=1e-6)
        assert curve.values.dtype == np.float64
    np.testing.assert_allclose(deletion_auc(*arguments), [40.625], rtol=1e-6)
    np.testing.assert_allclose(insertion_auc(*arguments), [65.625], rtol=1e-6)
    np.testing.assert_allclose(srg(*arguments), [25.0], rtol=1e-6)


def test_areas_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    wanted = grid(("black",), (0.2,)) + curve_grid(("mean", "blur"), (0.1, 0.25, 0.3))
    places = rng.permutation(len(wanted))
    wanted = tuple(wanted[place] for place in places)
    intact = outcomes(rng.uniform(0.2, 1, 5))
    perturbed = outcomes(rng.uniform(0, 1, (3, len(wanted), 5)))
    knots = [0, 0.1, 0.25, 0.3, 0.7, 0.75, 0.9, 1]
    for f, fill in enumerate(("mean", "blur")):
        for m in range(3):
            for i in range(5):

                def at(order, fraction, m=m, i=i, fill=fill):
                    if fraction == (0 if order == "deletion" else 1):
                        return 1.0
                    if fraction == (1 if order == "deletion" else 0):
                        order, fraction = "deletion", 1
                    place = wanted.index((order, fill, fraction))
                    start = float(intact.confidence[i])
                    return float(perturbed.confidence[m, place, i]) / start

                areas = {}
                for order in ("deletion", "retention"):
                    areas[order] = 100 * sum(
                        (after - before) * (at(order, before) + at(order, after)) / 2
                        for before, after in zip(knots, knots[1:], strict=False)
                    )
                expected = {
                    "deletion_auc": areas["deletion"],
                    "insertion_auc": areas["retention"],
                    "srg": areas["retention"] - areas["deletion"],
                }
                assert set(expected) == set(CURVE_METRICS)
                for name, value in expected.items():
                    found = measured_fills(
                        name, ("mean", "blur"), intact, perturbed, wanted
                    )
                    assert found.shape == (3, 2, 5)
                    np.testing.assert_allclose(found[m, f, i], value, atol=1e-6)


def test_each_curve_metric_says_how_it_is_read():
    for metric in CURVE_METRICS.values():
        assert metric.unit == "per cent"
        assert metric.better in ("higher", "lower")
        assert metric.formula


@pytest.mark.parametrize(
    ("intact", "wanted", "message"),
    [
        ([0.5, 0.0], HALVES, "^the intact confidence of 1 of 2 images is not above 0"),
        ([0.5, np.nan], HALVES, "^the intact confidence of 1 of 2 images is not above"),
        ([0.5, 0.5], HALVES[:2], "^there is no curve of deletion under 'mean'"),
        ([0.5, 0.5], HALVES[1:], "^there is no curve of deletion under 'mean'"),
        (
            [0.5, 0.5],
            (*grid(("mean",), (0.1, 0.5)), HALVES[-1]),
            "^the fractions of deletion under 'mean' are not those of retention",
        ),
        (
            [0.5, 0.5],
            (*HALVES, Perturbation("deletion", "mean", 0.1)),
            "^the fractions of deletion under 'mean' are not those of retention",
        ),
    ],
)
def test_what_makes_no_fair_curve_is_refused(intact, wanted, message):
    with pytest.raises(InputError, match=message):
        srg("mean", outcomes(intact), outcomes(np.ones((len(wanted), 2))), wanted)


SIZE = 8
NUM_IMAGES = 300
WEIGHTS = np.random.default_rng(1).normal(0, 1.5, (4 * 4 * 3, 4)).astype(np.float32)


def answer(images, targets):
    """Recognise a person, of four, by the middle's pixels; edges count as well."""
    values = images.astype(jnp.float32) / 255
    middle = values[:, 2:6, 2:6].reshape(len(images), -1)
    edges = jnp.abs(jnp.diff(values, axis=1)).mean((1, 2, 3))
    logits = middle @ WEIGHTS - edges[:, None] * jnp.arange(4)
    confidence = jax.nn.softmax(logits)
    chosen = confidence[jnp.arange(len(targets)), targets]
    return Outcome(chosen, confidence.argmax(1).astype(jnp.int32))


def enlarged(values):
    shape = (NUM_IMAGES, SIZE, SIZE, *values.shape[3:])
    return jax.image.resize(jnp.asarray(values, jnp.float32), shape, "linear")


@pytest.fixture(scope="module")
def tested():
    """Return the outcomes of six maps of every image, under every fill.

    The images are smooth, but for the middle.
    """
    rng = np.random.default_rng(0)
    images = enlarged(rng.uniform(0, 255, (NUM_IMAGES, 2, 2, 3))).astype(jnp.uint8)
    middles = rng.integers(0, 256, (NUM_IMAGES, 4, 4, 3), np.uint8)
    images = images.at[:, 2:6, 2:6].set(middles)
    smooth = enlarged(rng.random((NUM_IMAGES, 3, 3)))
    ragged = jnp.asarray(rng.random((NUM_IMAGES, SIZE, SIZE)), jnp.float32)
    middle = jnp.zeros((NUM_IMAGES, SIZE, SIZE)).at[:, 2:6, 2:6].set(1)
    maps = [smooth, ragged, -ragged, jnp.ones_like(smooth), middle, -middle]
    targets = answer(images, jnp.zeros(NUM_IMAGES, int)).decision
    intact = answer(images, targets)
    wanted = curve_grid(tuple(FILLS))
    counts = counts_of(wanted, SIZE, SIZE)

    @jax.jit
    def run(images, maps, targets, intact):
        ranked = [ranks(each, keys(NUM_IMAGES), counts=counts) for each in maps]
        return perturbed_outcomes(
            answer,
            images,
            jnp.stack(ranked),
            targets,
            keys(NUM_IMAGES, 1),
            intact=intact,
            wanted=wanted,
        )

    return intact, run(images, jnp.stack(maps), targets, intact), wanted


@pytest.mark.slow
@pytest.mark.parametrize("fill", FILLS)
def test_a_random_map_gains_nothing_be_it_smooth_ragged_or_flat(tested, fill):
    values = srg(fill, *tested)
    means = bootstrap_means(values.T, seed=0, num_resamples=1000)
    for m in (0, 1, 3):
        interval = estimate(values[m].mean(), means[:, m])
        assert interval["low"] < 0 < interval["high"]
        assert interval["high"] - interval["low"] < 15
        # It loses much all the same: what it fills matters.
        assert deletion_auc(fill, *tested)[m].mean() < 95


@pytest.mark.slow
@pytest.mark.parametrize("fill", FILLS)
def test_the_inverse_of_a_map_loses_what_the_map_gains_in_every_image(tested, fill):
    # So a map that is as likely as its inverse has zero in expectation, to the bit.
    _, ragged, inverse, *_ = srg(fill, *tested)
    assert np.abs(ragged).max() > 1
    np.testing.assert_allclose(inverse, -ragged, atol=1e-3)


@pytest.mark.parametrize("fill", FILLS)
def test_a_true_map_gains_and_its_inverse_loses(tested, fill):
    *_, true, inverse = srg(fill, *tested)
    means = bootstrap_means(true[:, None], seed=0, num_resamples=1000)
    assert estimate(true.mean(), means[:, 0])["low"] > 0
    # But for ties, which the same lots break.
    np.testing.assert_allclose(inverse.mean(), -true.mean(), rtol=0.1)


@pytest.mark.parametrize("fill", FILLS)
def test_all_maps_begin_and_end_in_the_same_images(tested, fill):
    deletion, retention = (
        relative_confidence(order, fill, *tested) for order in ("deletion", "retention")
    )
    for curve, intact, filled in ((deletion, 0, -1), (retention, -1, 0)):
        np.testing.assert_array_equal(curve.values[:, intact], 1)
        for m in range(6):
            np.testing.assert_array_equal(
                curve.values[m, filled], deletion.values[0, -1]
            )
