import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import METRICS, Outcome, grid, measured
from sdd_jax.faithfulness.statistics import bootstrap_means, estimate
from sdd_jax.faithfulness.summary import summarise

WANTED = grid(("black", "mean"), (0.2,))


@pytest.fixture
def outcomes():
    """Ten images, intact and as three methods mask them."""
    rng = np.random.default_rng(0)
    shape = (3, len(WANTED), 10)
    return (
        Outcome(rng.uniform(0.2, 1, 10).astype("f4"), rng.integers(0, 3, 10)),
        Outcome(rng.uniform(0, 1, shape).astype("f4"), rng.integers(0, 3, shape)),
    )


def test_metrics_worked_by_hand():
    intact = Outcome(np.array([0.5, 0.25, 0.5], np.float32), np.array([3, 3, 1]))
    perturbed = Outcome(
        np.array([[0.125, 0.5, 0.5]], np.float32), np.array([[3, 0, 1]])
    )
    wanted = WANTED[:1]
    expected = {
        "confidence_drop": [75, 0, 0],
        "confidence_drop_signed": [75, -100, 0],
        "confidence_drop_points": [37.5, -25, 0],
        "prediction_change": [0, 100, 0],
    }
    assert set(METRICS) == set(expected)
    for name, values in expected.items():
        found = measured(name, wanted[0], intact, perturbed, wanted)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == np.float64


def test_each_metric_says_how_it_is_read():
    for metric in METRICS.values():
        assert metric.unit in ("per cent", "percentage points")
        assert metric.better == {"deletion": "higher", "retention": "lower"}
        assert metric.formula


def test_a_metric_is_of_the_perturbation_it_asks_for(outcomes):
    for place, each in enumerate(WANTED):
        found = measured(
            "confidence_drop_points", each, outcomes[0], outcomes[1], WANTED
        )
        drop = np.float64(outcomes[0].confidence) - outcomes[1].confidence[:, place]
        np.testing.assert_array_equal(found, 100 * drop)


def summary(outcomes, labels, methods=("cam", "sdd", "centre"), **options):
    options = {"seed": 0, "num_resamples": 200} | options
    return summarise(labels, *outcomes, methods=methods, wanted=WANTED, **options)


def test_a_figure_is_the_mean_over_its_images_and_its_bootstrap(outcomes):
    labels = np.where(np.arange(10) < 4, outcomes[0].decision, -1)
    result = summary(outcomes, labels)
    assert result["num_images"] == 10
    assert result["accuracy"]["value"] == 40
    assert result["correctly_classified"]["num_images"] == 4
    groups = (result, slice(None)), (result["correctly_classified"], slice(4))
    for part, chosen in groups:
        for m, method in enumerate(("cam", "sdd", "centre")):
            for each in WANTED:
                for name in METRICS:
                    values = measured(name, each, outcomes[0], outcomes[1], WANTED)[
                        m, chosen
                    ]
                    means = bootstrap_means(values[:, None], seed=0, num_resamples=200)
                    found = part["methods"][method][each.fill][each.order][name]
                    expected = estimate(values.mean(), means[:, 0])
                    np.testing.assert_allclose(
                        list(found.values()), list(expected.values()), rtol=1e-12
                    )


def test_differences_are_sdd_minus_each_other_paired(outcomes):
    result = summary(outcomes, outcomes[0].decision)
    assert list(result["difference_to_sdd"]) == ["cam", "centre"]
    for m, method in ((0, "cam"), (2, "centre")):
        for each in WANTED:
            values = measured(
                "confidence_drop_signed", each, outcomes[0], outcomes[1], WANTED
            )
            values = values[1] - values[m]
            means = bootstrap_means(values[:, None], seed=0, num_resamples=200)
            cell = result["difference_to_sdd"][method][each.fill][each.order]
            expected = estimate(values.mean(), means[:, 0])
            np.testing.assert_allclose(
                list(cell["confidence_drop_signed"].values()),
                list(expected.values()),
                rtol=1e-9,
            )


def test_without_a_correct_image_or_sdd_their_parts_are_left_out(outcomes):
    result = summary(outcomes, np.full(10, -1), ("cam", "centre", "other"))
    assert "correctly_classified" not in result
    assert "difference_to_sdd" not in result


@pytest.mark.parametrize("num_resamples", [1, 39])
def test_an_interval_of_too_few_resamples_has_no_ends(outcomes, num_resamples):
    with pytest.raises(InputError, match="^num_resamples is .*, .* from 40 to"):
        summary(outcomes, outcomes[0].decision, num_resamples=num_resamples)
