"""Does a map show whose face it is, or only where a face is?

The same method explains the target and a random wrong class. Both maps are scored on
the target: what the wrong one gains as well has nothing to do with the person.
"""

from sdd_jax.faithfulness.curves import Wanted, srg
from sdd_jax.faithfulness.metrics import Values
from sdd_jax.faithfulness.perturbations import Outcome


def specificity(
    fill: str, intact: Outcome, perturbed: Outcome, other: Outcome, wanted: Wanted
) -> Values:
    """Return srg minus the srg of the maps for another class, in per cent.

    Args:
        fill: in `FILLS`.
        intact: of the targets, [images].
        perturbed: of the targets, by the targets' maps; [*methods, perturbations,
            images].
        other: of the targets as well, by the same methods' maps for other classes.
        wanted: the perturbations, from `curve_grid`.

    Raises:
        InputError: as `curves.srg`.
    """
    own, wrong = (srg(fill, intact, each, wanted) for each in (perturbed, other))
    return own - wrong
