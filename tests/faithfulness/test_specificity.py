import numpy as np

from sdd_jax.faithfulness import Outcome
from sdd_jax.faithfulness.curves import curve_grid, srg
from sdd_jax.faithfulness.specificity import specificity

WANTED = curve_grid(("mean",), (0.5,))


def outcomes(*confidence):
    values = np.array(confidence, np.float32)
    return Outcome(values, np.zeros(values.shape, np.int32))


def test_specificity_by_hand():
    # Gains of (1 + 2 * 0.75) / 4 - (1 + 2 * 0.25) / 4 = 25 %, and of the wrong class's
    # map of (1 + 2 * 0.5) / 4 - (1 + 2 * 0.375) / 4 = 6.25 %.
    intact = outcomes(0.8)
    own, wrong = outcomes([0.2], [0.6], [0]), outcomes([0.3], [0.4], [0])
    np.testing.assert_allclose(srg("mean", intact, own, WANTED), [25], rtol=1e-6)
    found = specificity("mean", intact, own, wrong, WANTED)
    np.testing.assert_allclose(found, [18.75], rtol=1e-6)


def test_a_map_that_does_not_depend_on_the_class_is_not_specific():
    own = outcomes([0.2], [0.6], [0])
    assert specificity("mean", outcomes(0.8), own, own, WANTED) == 0
