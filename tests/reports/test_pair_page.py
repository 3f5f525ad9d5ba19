import pytest

from sdd_jax.reports import pair_page

CALIBRATION = {"num_genuine": 1755, "num_impostor": 74100, "num_people": 39}


def record(
    value,
    low,
    high,
    at_bound=False,
    insufficient=(),
    outside=(),
    one_photograph=False,
):
    ratio = {"value": float(value), "low": float(low), "high": float(high)}
    ratio["at_bound"] = at_bound
    return {
        "likelihood_ratio": ratio,
        "calibration": CALIBRATION,
        "insufficient": list(insufficient),
        "outside": [*insufficient, *outside],
        "may_be_one_photograph": one_photograph,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (2.34, "2.3"), (9.99, "10"), (41.4, "41"), (781, "780")]
    + [(123_456, "120,000")],
)
def test_a_factor_has_two_digits(value, text):
    assert pair_page.times(float(value)) == text


def test_a_ratio_above_one_speaks_for_one_person_and_below_for_two():
    [for_one] = pair_page.statement(record(20, 8, 51))
    assert for_one == (
        "A score like this is about 20 times as frequent between two images of one "
        "person as between images of two different people (95 % interval 8 to 51), "
        "measured on 1,755 genuine and 74,100 impostor pairs of 39 other people."
    )
    [for_two] = pair_page.statement(record(0.05, 0.02, 0.125))
    assert (
        "about 20 times as frequent between two images of two different peo" in for_two
    )
    assert "(95 % interval 8 to 50)" in for_two
    for line in (for_one, for_two):
        assert "probab" not in line and "match" not in line


def test_at_the_bound_it_says_so():
    [line] = pair_page.statement(record(742, 742, 742, at_bound=True))
    assert "740 times, the most that so many people support, as frequent" in line
    assert "(every draw of these people ends at this bound)" in line


def test_an_image_of_another_kind_is_said_first():
    lines = pair_page.statement(record(20, 8, 51, insufficient=["sharpness", "yaw"]))
    assert lines[0].startswith("Insufficient: an image is worse than 99 % of the")
    assert "(sharpness of the aligned image, turned sideways, in eye di" in lines[0]
    assert len(lines) == 2


def test_what_was_not_measured_and_what_may_be_a_copy_are_said():
    given = record(20, 8, 51, outside=["sharpness"], one_photograph=True)
    lines = pair_page.statement(given)
    assert lines[0].startswith(
        "Not measured on such images: one lies outside what 98 %"
    )
    assert lines[1].startswith("Perhaps one photograph: the score is higher than")
    assert len(lines) == 3
