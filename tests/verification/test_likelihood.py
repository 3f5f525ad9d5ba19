import numpy as np
import pytest

from sdd_jax.types import Calibration
from sdd_jax.verification import calibration, likelihood
from sdd_jax.verification.measured import calibrated
from sdd_jax.verification.pairs import all_pairs

LABELS = np.repeat(np.arange(12), 4)
NAMES = [f"person {i}" for i in range(12)]


@pytest.fixture(scope="module")
def known():
    pairs = all_pairs(LABELS, NAMES, seed=0)
    rng = np.random.default_rng(1)
    scores = rng.normal(np.where(pairs.is_same, 0.6, 0.0), 0.25)
    return scores, pairs, calibrated(scores, pairs, far=0.05)


def ratio(score, known, **options):
    scores, pairs, found = known
    options = dict(seed=0, num_resamples=60) | options
    return likelihood.likelihood_ratio(score, scores, pairs, found, **options)


def test_the_ratio_is_the_logistic_one_within_its_interval(known):
    found = ratio(0.35, known)
    fit = known[2]
    assert found.value == pytest.approx(np.exp(fit.slope * 0.35 + fit.offset))
    assert found.low < found.value < found.high and not found.at_bound
    # log N(s; 0.6) / N(s; 0) = (0.6 s - 0.18) / 0.0625, that is 1.62 at 0.35.
    assert found.low < np.exp(0.48) < found.high


@pytest.mark.slow
def test_a_higher_score_has_a_higher_ratio_up_to_what_the_people_support(known):
    ratios = [ratio(score, known) for score in (-0.2, 0.3, 0.5, 3.0, -3.0)]
    values = [each.value for each in ratios]
    assert values[0] < values[1] < values[2] <= values[3]
    # 12 people, and 66 couples of them.
    assert values[3] == pytest.approx(67) and ratios[3].at_bound
    assert values[4] == pytest.approx(1 / 13) and ratios[4].at_bound
    assert all(each.high <= 67.001 and each.low >= 1 / 13.001 for each in ratios)


@pytest.mark.slow
def test_the_interval_comes_from_the_seed(known):
    assert ratio(0.3, known) == ratio(0.3, known)
    assert ratio(0.3, known) != ratio(0.3, known, seed=1)


def test_pairs_of_the_people_themselves_are_left_out(known):
    scores, pairs, _ = known
    kept = likelihood.without(pairs, {3, -1})
    assert not (pairs.people[kept] == 3).any()
    assert kept.sum() == len(kept) - (pairs.people == 3).any(1).sum()
    left = likelihood.chosen(pairs, kept)
    assert len(left.first) == kept.sum() == len(scores[kept])


def test_a_pair_that_counts_twice_is_a_pair_that_is_there_twice():
    rng = np.random.default_rng(2)
    is_same = np.arange(90) < 30
    scores = rng.normal(np.where(is_same, 0.5, 0.0), 0.3)
    times = rng.integers(1, 4, 90)
    weighted = calibration.logistic(scores, is_same, times.astype(float))
    repeated = calibration.logistic(scores.repeat(times), is_same.repeat(times))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-4)


def test_draws_without_a_genuine_pair_say_nothing():
    labels = np.array([0, 0, 1, 2, 3, 4, 5])
    pairs = all_pairs(labels, NAMES, seed=0)
    scores = np.where(pairs.is_same, 0.9, np.linspace(0, 0.5, len(pairs.first)))
    found = Calibration(0.6, 10.0, -5.0, -5.0, 5.0)
    value = likelihood.likelihood_ratio(
        0.55, scores, pairs, found, seed=0, num_resamples=50
    )
    assert np.isfinite(value[:5]).all()
