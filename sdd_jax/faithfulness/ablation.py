"""What choices of a method do to a measure -> words, by stated rules.

All differences are paired, image by image, with 95 % intervals over identities.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from sdd_jax.faithfulness.comparison import Column, Measured, table

ENOUGH_RULE = (
    "the smallest choice whose mean is at most {margin} below the best choice's, and "
    "whose paired difference to it has a 95 % interval that reaches 0"
)
DIFFERS_RULE = (
    "the 95 % interval of the paired difference to the default leaves out 0, and "
    "Wilcoxon's p, adjusted by Holm for all choices, is at most 0.05"
)


def smallest_enough(
    choices: Mapping[str, Measured],
    labels: Int[np.ndarray, " images"],
    column: Column,
    *,
    margin: float,
    seed: int,
    num_resamples: int,
) -> tuple[str, str] | None:
    """Return the choice that `ENOUGH_RULE` names, and the best one.

    None where no choice has the measure: all its maps are flat.

    Args:
        choices: what each gave, from the smallest on; larger values are better.
        labels: whose images they are.
        column: the measure.
        margin: in the measure's unit.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.
    """
    known = {
        name: Measured({column: one.values[column]}, {column: one.counted[column]})
        for name, one in choices.items()
        if one.counted[column].any()
    }
    if not known:
        return None

    def mean(name: str) -> float:
        one = known[name]
        return float(one.values[column][one.counted[column]].mean())

    best = max(known, key=mean)
    options = {"reference": best, "seed": seed, "num_resamples": num_resamples}
    differences = table(known, labels, **options)["differences"]
    for name in known:
        if name == best:
            break
        metric, fill = column
        found = differences[name].get(metric, {}).get(fill)
        is_close = mean(name) >= mean(best) - margin
        if found and is_close and found["low"] <= 0 <= found["high"]:
            return name, best
    return best, best


def that_differ(
    differences: Mapping[str, Any], names: Sequence[str], column: Column
) -> dict[str, Mapping[str, float]]:
    """Return the choices that differ from the default by `DIFFERS_RULE`, and how.

    Args:
        differences: the table's, [name][metric][fill].
        names: the choices to look at; those without the measure are passed over.
        column: the measure.
    """
    metric, fill = column
    found = {}
    for name in names:
        one = differences.get(name, {}).get(metric, {}).get(fill)
        if one and not one["low"] <= 0 <= one["high"] and one["p"] <= 0.05:
            found[name] = one
    return found
