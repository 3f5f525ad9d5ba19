import numpy as np
import pytest

from sdd_jax.verification import rates

SCORES = np.array([0.9, 0.8, 0.7, 0.7, 0.4, 0.3])
IS_SAME = np.array([True, True, False, True, True, False])


@pytest.fixture
def found():
    return rates.by_score(SCORES, IS_SAME)


def test_the_curve_is_worked_by_hand(found):
    roc = rates.curve(found)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.4, 0.3])
    np.testing.assert_allclose(roc.tar, [0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(roc.far, [0, 0, 0, 0.5, 0.5, 1])
    # Of eight comparisons 6 are right, and one is a tie.
    assert rates.auc(roc) == pytest.approx(6.5 / 8)
    # 1 - TAR falls from 0.5 to 0.25, while FAR rises from 0 to 0.5: both meet at 1/3.
    assert rates.eer(roc) == pytest.approx(1 / 3)


def test_the_tar_at_a_far_accepts_no_more_than_that(found):
    roc = rates.curve(found)
    assert rates.tar_at(roc, 0.49) == 0.5
    assert rates.tar_at(roc, 0.5) == 1
    assert rates.threshold_at(found, roc, 0.49) == pytest.approx(0.75)
    assert rates.threshold_at(found, roc, 1.0) == pytest.approx(0.3)


def test_a_far_of_nothing_accepts_nothing_where_an_impostor_is_first():
    scores, is_same = np.array([0.9, 0.5]), np.array([False, True])
    found = rates.by_score(scores, is_same)
    roc = rates.curve(found)
    assert rates.tar_at(roc, 0.1) == 0
    assert rates.threshold_at(found, roc, 0.1) > 0.9


def test_the_best_threshold_lies_between_the_kinds():
    scores = np.array([0.1, 0.2, 0.6, 0.9])
    found = rates.by_score(scores, scores > 0.5)
    assert rates.best_threshold(found, rates.curve(found)) == pytest.approx(0.4)


def test_a_weight_of_two_is_as_the_pair_twice():
    weights = np.array([1.0, 2, 1, 0, 1, 3])
    found = rates.by_score(SCORES, IS_SAME)
    again = np.repeat(np.arange(6), weights.astype(int))
    twice = rates.by_score(SCORES[again], IS_SAME[again])
    roc, expected = rates.curve(found, weights[found.order]), rates.curve(twice)
    for of in (rates.auc, rates.eer):
        assert of(roc) == pytest.approx(of(expected))
    assert rates.tar_at(roc, 0.3) == pytest.approx(rates.tar_at(expected, 0.3))


def test_a_kind_without_weight_has_no_rates(found):
    weights = IS_SAME.astype(float)[found.order]
    roc = rates.curve(found, weights)
    assert np.isnan([rates.auc(roc), rates.eer(roc), rates.tar_at(roc, 0.1)]).all()


def test_three_impostor_pairs_must_be_accepted_before_a_far_is_told():
    assert not rates.unsupported(1e-3, 3000)
    assert rates.unsupported(1e-4, 3000) == (
        "3,000 impostor pairs cannot support a FAR of 0.0001: at least 30,000 are "
        "needed"
    )


def test_at_the_eer_threshold_the_rates_have_met(found):
    # Accepting from 0.7 on, a quarter of the genuine and half of the impostor pairs.
    threshold = rates.eer_threshold(found, rates.curve(found))
    assert threshold == pytest.approx((0.7 + 0.4) / 2)
    missed = (SCORES[IS_SAME] < threshold).mean()
    assert missed <= (SCORES[~IS_SAME] >= threshold).mean()
