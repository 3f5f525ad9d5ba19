import numpy as np
import pytest

from sdd_jax.faithfulness.pair_curves import FORMULAS, columns, grid

WANTED = grid(("mean",), (0.5,))


def test_the_grid_has_both_orders_and_all_hidden():
    assert [each[::2] for each in WANTED] == [
        ("deletion", 0.5),
        ("retention", 0.5),
        ("deletion", 1.0),
    ]
    assert len(grid(("mean", "black"), (0.5, 0.2))) == 2 * (2 * 2 + 1)


def test_columns_worked_by_hand():
    # One genuine, one impostor pair; a threshold of 0.5.
    found = columns(
        np.array([0.8, 0.4]),
        np.array([[0.4, 0.6], [0.6, 0.3], [0.0, 0.2]]),
        WANTED,
        np.array([True, False]),
        fill="mean",
        fraction=0.5,
        threshold=0.5,
    )
    assert found.keys() == FORMULAS.keys()
    expected = {
        "drop": [40, -20],
        # 0, 0.4, 0.8 and 0, -0.2, 0.2, over halves.
        "drop_curve": [40, -5],
        "retention_drop": [20, 10],
        # 0.8, 0.2, 0 and 0.2, 0.1, 0.
        "retention_curve": [30, 10],
        "wrong_side": [100, 100],
        # Only the whole and half of it are at least 0.5; the other never is.
        "hiding_game": [75, 100],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("fill", ["mean", "black"])
def test_columns_are_of_the_fill_and_the_fraction_asked_for(fill):
    wanted = grid(("mean", "black"), (0.2, 0.6))
    rng = np.random.default_rng(0)
    intact, cosines = rng.uniform(size=5), rng.uniform(size=(len(wanted), 5))
    is_genuine = np.array([1, 0, 1, 0, 1], bool)
    how = dict(fill=fill, fraction=0.6, threshold=0.4)
    found = columns(intact, cosines, wanted, is_genuine, **how)
    for i in range(5):

        def at(order, fraction, i=i):
            if fraction == (0 if order == "deletion" else 1):
                return intact[i]
            if fraction == (1 if order == "deletion" else 0):
                order, fraction = "deletion", 1.0
            return cosines[wanted.index((order, fill, fraction)), i]

        areas = {}
        for order in ("deletion", "retention"):
            areas[order] = sum(
                (b - a) * (2 * intact[i] - at(order, a) - at(order, b)) / 2
                for a, b in ((0, 0.2), (0.2, 0.6), (0.6, 1))
            )
        np.testing.assert_allclose(found["drop_curve"][i], 100 * areas["deletion"])
        curve = 100 * areas["retention"]
        np.testing.assert_allclose(found["retention_curve"][i], curve)
        lost = 100 * (intact[i] - at("deletion", 0.6))
        np.testing.assert_allclose(found["drop"][i], lost)
        wrong = (at("deletion", 0.6) >= 0.4) != is_genuine[i]
        assert found["wrong_side"][i] == 100 * wrong
