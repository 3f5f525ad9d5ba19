import inspect

import numpy as np
import pytest
from scipy import stats

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import Outcome, comparison, grid
from sdd_jax.faithfulness.comparison import ALL, Measured
from sdd_jax.faithfulness.curves import curve_grid, srg

FILLS = ("black", "mean")
WANTED = tuple(dict.fromkeys(curve_grid(FILLS, (0.2, 0.5)) + grid(FILLS, (0.2,))))
LABELS = np.repeat(np.arange(6), 4)


def outcome(seed, number=24):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.05, 1, (len(WANTED), number))
    decision = rng.integers(0, 3, (len(WANTED), number))
    return Outcome(confidence.astype(np.float32), decision.astype(np.int32))


INTACT = Outcome(np.full(24, 0.9, np.float32), np.zeros(24, np.int32))


def measured(seed, number=24, flat=()):
    rng = np.random.default_rng(seed)
    values = rng.normal(seed, 1, number)
    says = ~np.isin(np.arange(number), flat)
    return Measured({("srg", ALL): values}, {("srg", ALL): says})


def table(methods, reference="a", **options):
    return comparison.table(
        methods,
        LABELS,
        reference=reference,
        **{"seed": 0, "num_resamples": 200} | options,
    )


def test_curves_stand_under_every_fill_and_as_their_mean():
    found = comparison.curve_columns(INTACT, outcome(0), WANTED, fills=FILLS)
    for fill in FILLS:
        expected = srg(fill, INTACT, outcome(0), WANTED)
        np.testing.assert_array_equal(found["srg", fill], expected)
    mean = (found["srg", "black"] + found["srg", "mean"]) / 2
    np.testing.assert_allclose(found["srg", ALL], mean, rtol=1e-12)
    assert {name for name, _ in found} == {"srg", "insertion_auc", "deletion_auc"}


def test_specificity_is_what_a_wrong_class_does_not_gain():
    found = comparison.specificity_columns(
        INTACT, outcome(0), outcome(1), WANTED, fills=FILLS
    )
    own, other = (
        comparison.curve_columns(INTACT, outcome(seed), WANTED, fills=FILLS)
        for seed in (0, 1)
    )
    for fill in (*FILLS, ALL):
        np.testing.assert_allclose(
            found["specificity", fill], own["srg", fill] - other["srg", fill]
        )


def test_figures_of_one_fraction_equal_a_loop():
    perturbed = outcome(2)
    found = comparison.masked_columns(
        INTACT, perturbed, WANTED, fills=FILLS, fraction=0.2
    )
    for order, start in (("deletion", ""), ("retention", "retention_")):
        for fill in FILLS:
            place = WANTED.index((order, fill, 0.2))
            for i in range(24):
                p, q = (
                    float(INTACT.confidence[i]),
                    float(perturbed.confidence[place, i]),
                )
                drop = found[f"{start}confidence_drop", fill][i]
                assert drop == pytest.approx(100 * max(0, (p - q) / p), rel=1e-6)
                change = found[f"{start}prediction_change", fill][i]
                assert change == 100.0 * (perturbed.decision[place, i] != 0)


def test_measures_of_maps_come_from_the_details():
    details = {
        "explained_confidence": np.full(24, 0.45, np.float32),
        "foretold": np.ones((24, 2), np.float32),
        "edge_length": np.arange(24),
        "gini": np.full(24, 0.5),
        "half_mass_area": np.full(24, 0.1),
    }
    differences = np.tile([1.0, 3.0], (24, 1))
    found = comparison.map_columns(INTACT, details, differences)
    np.testing.assert_allclose(found["average_drop", ALL], 50, rtol=1e-6)
    np.testing.assert_allclose(found["average_gain", ALL], 0)
    # The best scale is 2: it misses by 1 each time.
    np.testing.assert_allclose(found["infidelity", ALL], 1, rtol=1e-12)
    np.testing.assert_array_equal(found["edge_length", ALL], np.arange(24))
    assert ("max_sensitivity", ALL) not in found


def test_a_table_has_means_with_intervals_over_identities():
    methods = {"a": measured(0), "b": measured(1)}
    found = table(methods)
    for name, one in methods.items():
        figure = found["methods"][name]["srg"][ALL]
        assert figure["value"] == pytest.approx(one.values["srg", ALL].mean())
        assert figure["low"] < figure["value"] < figure["high"]


def test_differences_are_paired_and_tested_over_identities():
    methods = {"a": measured(0), "b": measured(1), "c": measured(2)}
    found = table(methods)
    assert list(found["differences"]) == ["b", "c"]
    raw = {}
    for name in "bc":
        apart = methods[name].values["srg", ALL] - methods["a"].values["srg", ALL]
        figure = found["differences"][name]["srg"][ALL]
        assert figure["value"] == pytest.approx(apart.mean())
        raw[name] = stats.wilcoxon(apart.reshape(6, 4).mean(1), method="exact").pvalue
    smaller, larger = sorted(raw, key=raw.__getitem__)
    adjusted = {smaller: min(1, 2 * raw[smaller])}
    adjusted[larger] = max(adjusted[smaller], raw[larger])
    for name, p in adjusted.items():
        assert found["differences"][name]["srg"][ALL]["p"] == pytest.approx(p)


def test_a_method_of_fewer_images_is_compared_on_those():
    methods = {"a": measured(0), "b": measured(1, number=8)}
    found = table(methods)
    apart = methods["b"].values["srg", ALL] - methods["a"].values["srg", ALL][:8]
    figure = found["differences"]["b"]["srg"][ALL]
    assert figure["value"] == pytest.approx(apart.mean())


def test_flat_maps_are_in_no_mean():
    flat = (0, 5, 6)
    one = measured(0, flat=flat)
    figure = table({"a": one})["methods"]["a"]["srg"][ALL]
    rest = np.delete(one.values["srg", ALL], flat)
    assert figure["value"] == pytest.approx(rest.mean())


def test_a_method_that_says_nothing_has_no_figure():
    found = table({"a": measured(0), "b": measured(1, flat=range(24))})
    assert found["methods"]["b"] == {}
    assert found["differences"]["b"] == {}


def test_the_reference_must_be_there():
    with pytest.raises(InputError, match="^the reference is 'x': expected one of a$"):
        inspect.unwrap(comparison.table)(
            {"a": measured(0)}, LABELS, reference="x", seed=0, num_resamples=40
        )
