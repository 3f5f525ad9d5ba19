import numpy as np
import pytest

from sdd_jax.verification import calibration
from sdd_jax.verification.calibration import Bounds, Isotonic, Logistic
from sdd_jax.verification.rates import by_score

WIDE = Bounds(-50.0, 50.0)


def test_the_logistic_fit_finds_two_normal_distributions_ratio():
    rng = np.random.default_rng(0)
    is_same = np.arange(40_000) < 10_000
    scores = rng.normal(np.where(is_same, 0.6, 0.0), 0.2)
    found = calibration.logistic(scores, is_same)
    # log N(s; 0.6, 0.2) / N(s; 0, 0.2) = 15 s - 4.5, whatever the kinds' numbers.
    assert found.slope == pytest.approx(15, rel=0.03)
    assert found.offset == pytest.approx(-4.5, rel=0.03)


def test_kinds_that_no_score_mixes_up_have_a_finite_slope():
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    found = calibration.logistic(scores, scores > 0.5)
    assert 1 < found.slope < 100
    assert found.slope * 0.5 + found.offset == pytest.approx(0, abs=1e-3)


def test_the_isotonic_fit_pools_what_falls_worked_by_hand():
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    is_same = np.array([False, True, False, True])
    found = calibration.isotonic(scores, is_same)
    np.testing.assert_allclose(found.probabilities, [0, 0.5, 0.5, 1])
    ratios = calibration.log_ratios(found, scores, Bounds(-2.0, 3.0))
    np.testing.assert_allclose(ratios, [-2, 0, 0, 3])


def test_cllr_is_worked_by_hand():
    is_same = np.array([True, True, False])
    ratios = np.log([1.0, 3.0, 0.5])
    genuine = (np.log2(2) + np.log2(1 + 1 / 3)) / 2
    expected = (genuine + np.log2(1.5)) / 2
    assert calibration.cllr(ratios, is_same) == pytest.approx(expected)
    assert calibration.cllr(np.zeros(3), is_same) == pytest.approx(1)
    costs = calibration.costs(ratios, is_same)
    weighted = calibration.mean_cost(costs, is_same, np.array([0.0, 2, 5]))
    assert weighted == pytest.approx((np.log2(4 / 3) + np.log2(1.5)) / 2)


def test_no_rising_function_has_a_lower_cllr_than_the_minimum():
    rng = np.random.default_rng(1)
    is_same = np.arange(300) < 100
    scores = rng.normal(is_same, 0.7)
    least = calibration.cllr_min(by_score(scores, is_same))
    for fit in (Logistic(2.0, -1.0), calibration.logistic(scores, is_same)):
        ratios = calibration.log_ratios(fit, scores, WIDE)
        assert calibration.cllr(ratios, is_same) > least
    fit = calibration.isotonic(scores, is_same)
    ratios = calibration.log_ratios(fit, scores, Bounds(-np.inf, np.inf))
    assert calibration.cllr(ratios, is_same) == pytest.approx(least)
    weights = 1.0 + np.arange(300) % 3
    found = by_score(
        np.repeat(scores, weights.astype(int)), np.repeat(is_same, weights.astype(int))
    )
    one = by_score(scores, is_same)
    assert calibration.cllr_min(one, weights[one.order]) == pytest.approx(
        calibration.cllr_min(found)
    )
    assert calibration.cllr_min(by_score(np.exp(scores), is_same)) == pytest.approx(
        least
    )
    assert calibration.cllr_min(by_score(is_same * 1.0, is_same)) == pytest.approx(0)


def test_ratios_never_go_beyond_what_the_people_support():
    is_same = np.array([True, True, True, False, False, False])
    people = np.array([[0, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 2]])
    limits = calibration.bounds(is_same, people)
    np.testing.assert_allclose(limits, [-np.log(3), np.log(3)])
    scores = np.array([-9.0, 9.0])
    for fit in (Logistic(100.0, 0.0), Isotonic(scores, np.array([0.0, 1]))):
        np.testing.assert_allclose(calibration.log_ratios(fit, scores, limits), limits)
