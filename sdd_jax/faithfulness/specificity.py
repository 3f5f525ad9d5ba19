"""Does a map show whose face it is, or only where a face is?

The same method explains the target and a random wrong class. Both maps are scored on
the target: what the wrong one gains as well has nothing to do with the person.
"""

import jax
from jax import Array
from jaxtyping import Int, Key

from sdd_jax import checks
from sdd_jax.faithfulness.curves import Wanted, srg
from sdd_jax.faithfulness.metrics import Values
from sdd_jax.faithfulness.perturbations import Outcome


def other_classes(
    targets: Int[Array, " batch"], keys: Key[Array, " batch"], *, num_classes: int
) -> Int[Array, " batch"]:
    """Return a class for each image, drawn evenly from all but its target.

    Args:
        targets: the classes the images are explained for.
        keys: each image's own.
        num_classes: how many there are; without a second one nothing can be drawn.

    Raises:
        InputError: there are fewer than two classes.
    """
    checks.require(num_classes, checks.whole(2), "num_classes")

    def draw(target: Array, key: Array) -> Array:
        place = jax.random.randint(key, (), 0, num_classes - 1, target.dtype)
        return place + (place >= target)  # the target is left out

    return jax.vmap(draw)(targets, keys)


def specificity(
    fill: str, intact: Outcome, perturbed: Outcome, other: Outcome, wanted: Wanted
) -> Values:
    """Return srg minus the srg of the maps for another class, in per cent.

    Args:
        fill: in `FILLS`.
        intact: of the targets, [images].
        perturbed: of the targets, by the targets' maps; [*methods, perturbations,
            images].
        other: of the targets as well, by the same methods' maps for `other_classes`.
        wanted: the perturbations, from `curve_grid`.

    Raises:
        InputError: as `curves.srg`.
    """
    own, wrong = (srg(fill, intact, each, wanted) for each in (perturbed, other))
    return own - wrong
