import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.calibration import calibration_error


def test_the_error_is_the_one_worked_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    is_right = np.array([True, True, True, False, True, False])
    # Two bins: |0.75 - 0.95| of four images, |0.5 - 0.55| of two.
    expected = 100 * (4 * 0.2 + 2 * 0.05) / 6
    assert calibration_error(confidence, is_right) == pytest.approx(expected)


def test_a_network_that_knows_itself_has_none_and_the_last_bin_takes_one():
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert calibration_error(np.ones(3), np.zeros(3, bool)) == 100
    assert calibration_error(np.full(4, 0.5), np.array([1, 1, 0, 0], bool)) == 0


def test_no_images_are_refused():
    with pytest.raises(InputError, match="no images were given"):
        calibration_error(np.zeros(0), np.zeros(0, bool))
