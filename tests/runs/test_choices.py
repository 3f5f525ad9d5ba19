import pytest

from configs import orl
from sdd_jax.errors import InputError
from sdd_jax.runs.choices import CLASSES, DEFAULT, choices, fraction_rows

OWN = orl.get_config().to_dict()["saliency"]["sdd"]
ALL = orl.get_config().ablate.parameters


def test_every_row_is_one_parameter_away_from_the_default():
    tried = choices(OWN, 40, ALL)
    assert next(iter(tried.options)) == DEFAULT
    default = tried.options[DEFAULT]
    assert default == OWN
    for name, rows in tried.groups.items():
        assert list(rows.values()).count(DEFAULT) == 1
        for label, row in rows.items():
            changed = {k for k, v in tried.options[row].items() if v != default[k]}
            assert changed == ({name} if row != DEFAULT else set()), label
    listed = {row for rows in tried.groups.values() for row in rows.values()}
    assert listed == tried.options.keys()
    assert not tried.left_out
    assert len(tried.options) == 1 + 4 + 4 + 6 + 1 + 1


def test_factors_count_the_rivals_of_the_default():
    tried = choices(OWN, 40, ALL).options
    assert tried["F = |S|"]["scale"] == 4 and tried["F = 2 |S|"]["scale"] == 8
    # Of six classes, ten are never compared: five rivals.
    few = choices(OWN | {"num_classes_compared": 10}, 6, ALL).options
    assert few["F = |S|"]["scale"] == 5


def test_more_classes_than_there_are_are_left_out_and_said():
    tried = choices(OWN, 6, ALL)
    assert list(tried.groups["num_classes_compared"]) == [
        f"{number} classes" for number in CLASSES if number <= 6
    ]
    assert tried.left_out == [
        "10 classes compared are left out: the data have 6",
        "20 classes compared are left out: the data have 6",
    ]


def test_a_default_of_ones_own_stands_before_the_others():
    tried = choices({"amplification": 0.7}, 40, ALL)
    assert next(iter(tried.groups["amplification"])) == DEFAULT
    assert tried.options[DEFAULT]["amplification"] == 0.7
    assert tried.options["alpha adaptive"]["amplification"] is None
    assert tried.groups["num_classes_compared"]["5 classes"] == DEFAULT


def test_the_fraction_that_is_chosen_is_the_defaults_row():
    rows = fraction_rows(0.2)
    assert rows["20%"] == DEFAULT and rows["5%"] == "fraction 5%"
    assert DEFAULT not in fraction_rows(0.25).values()


def test_only_the_parameters_asked_for_are_changed():
    tried = choices(OWN, 6, ("centre",))
    assert list(tried.options) == [DEFAULT, "class weights raw"]
    assert list(tried.groups) == ["centre"] and not tried.left_out
    with pytest.raises(
        InputError, match="^unknown parameter 'alpha': expected one of n"
    ):
        choices(OWN, 6, ("alpha",))
    with pytest.raises(InputError, match="^the parameters are none: expected at least"):
        choices(OWN, 6, ())
