"""The choices that SDD leaves open: one parameter at a time away from the default."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sdd_jax import checks
from sdd_jax.saliency.sdd import sdd

DEFAULT = "default"
CLASSES = (2, 3, 5, 10, 20)  # compared, the target among them
FACTORS = (10.0, 50.0)  # F, besides |S|, 2 |S| and the adaptive one
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the pixels that are masked


class Choices(NamedTuple):
    """What is tried."""

    options: dict[str, dict[str, Any]]  # of SDD, by row; the default comes first
    groups: dict[str, dict[str, str]]  # by parameter: what is chosen -> its row
    left_out: list[str]  # in words


def choices(
    own: Mapping[str, Any], num_classes: int, parameters: Sequence[str]
) -> Choices:
    """Return the choices of SDD's parameters, each beside the default of the others.

    What is chosen already is the row `default`.

    Args:
        own: SDD's options, which are the default; the others are as in `saliency.sdd`.
        num_classes: of the model; comparing more than those is left out.
        parameters: of SDD, those to change.

    Raises:
        InputError: a parameter has no choices here, stands twice, or there is none.
    """
    default = {
        parameter.name: parameter.default
        for parameter in inspect.signature(sdd).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    } | dict(own)
    rivals = min(default["num_classes_compared"], num_classes) - 1
    known = [number for number in CLASSES if number <= num_classes]
    values: dict[str, dict[str, Any]] = {
        "num_classes_compared": {f"{number} classes": number for number in known},
        "scale": {
            "F = |S|": float(rivals),
            "F = 2 |S|": 2.0 * rivals,
            **{f"F = {factor:g}": factor for factor in FACTORS},
            "F adaptive": None,
        },
        "amplification": {
            **{f"alpha = {alpha:g}": alpha for alpha in ALPHAS},
            "alpha adaptive": None,
        },
        "upsample_first": {"exp, then upsampled": False, "upsampled, then exp": True},
        "centre": {"class weights centred": True, "class weights raw": False},
    }
    checks.require_names(parameters, values, "parameter")
    options, groups = {DEFAULT: default}, {}
    for name in parameters:
        chosen = values[name]
        rows = {
            label: DEFAULT if value == default[name] else label
            for label, value in chosen.items()
        }
        # A default that is none of them stands before them.
        groups[name] = rows if DEFAULT in rows.values() else {DEFAULT: DEFAULT} | rows
        for label, row in rows.items():
            if row != DEFAULT:
                options[row] = default | {name: chosen[label]}
    left_out = [
        f"{number} classes compared are left out: the data have {num_classes}"
        for number in CLASSES
        if number not in known and "num_classes_compared" in parameters
    ]
    return Choices(options, groups, left_out)


def fraction_rows(fraction: float) -> dict[str, str]:
    """Return the row of every fraction; the one chosen already is the default's."""
    return {
        f"{each:.0%}": DEFAULT if each == fraction else f"fraction {each:.0%}"
        for each in FRACTIONS
    }
