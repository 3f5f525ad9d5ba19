"""The methods of pairs by name, what they answer, and what they cost."""

from collections.abc import Callable
from typing import NamedTuple

from sdd_jax.pair_saliency.controls import centre, random_map
from sdd_jax.pair_saliency.corr_rise import corr_rise
from sdd_jax.pair_saliency.distance import distance
from sdd_jax.pair_saliency.fggb import fggb
from sdd_jax.pair_saliency.fine_distance import fine_distance
from sdd_jax.pair_saliency.fine_similarity import fine_similarity
from sdd_jax.pair_saliency.grad_cam import grad_cam
from sdd_jax.pair_saliency.occlusion import occlusion
from sdd_jax.pair_saliency.occlusion_of_both import occlusion_of_both
from sdd_jax.pair_saliency.one_sided_distance import one_sided_distance
from sdd_jax.pair_saliency.pair_sdd import pair_sdd
from sdd_jax.pair_saliency.patch_cosine import patch_cosine
from sdd_jax.pair_saliency.pixel_difference import pixel_difference
from sdd_jax.pair_saliency.similarity import similarity
from sdd_jax.pair_saliency.xssab import xssab
from sdd_jax.types import Explanation

METHODS: dict[str, Callable[..., Explanation]] = {
    "similarity": similarity,
    "fine_similarity": fine_similarity,
    "pair_sdd": pair_sdd,
    "distance": distance,
    "one_sided_distance": one_sided_distance,
    "fine_distance": fine_distance,
    # What others do.
    "grad_cam": grad_cam,
    "patch_cosine": patch_cosine,
    "xssab": xssab,
    "fggb": fggb,
    "corr_rise": corr_rise,
    "occlusion": occlusion,
    "occlusion_of_both": occlusion_of_both,
    # What an explanation has to beat.
    "centre": centre,
    "random_map": random_map,
    "pixel_difference": pixel_difference,
}

ALIKE, DIFFERENT = "alike", "different"

# What a large value says: here the two are alike, or here they differ. Of controls that
# know nothing of a pair it is what they are held against first.
QUESTIONS = {
    "similarity": ALIKE,
    "fine_similarity": ALIKE,
    "pair_sdd": ALIKE,
    "distance": DIFFERENT,
    "one_sided_distance": DIFFERENT,
    "fine_distance": DIFFERENT,
    "grad_cam": ALIKE,
    "patch_cosine": ALIKE,
    "xssab": ALIKE,
    "fggb": ALIKE,
    "corr_rise": ALIKE,
    "occlusion": ALIKE,
    "occlusion_of_both": DIFFERENT,
    "centre": ALIKE,
    "random_map": ALIKE,
    "pixel_difference": DIFFERENT,
}

# They know nothing of a pair: no map of theirs answers one question and not the other.
BLIND = frozenset(("centre", "random_map"))
# What these take besides: embeddings of other people; the cosine of a decision.
TAKES_RIVALS = frozenset(("pair_sdd",))
TAKES_THRESHOLD = frozenset(("xssab", "fggb"))


class Passes(NamedTuple):
    """How often a map of one pair takes an image through the network."""

    forward: int
    backward: int


# With its default options. Both images are embedded: two passes.
_PASSES = {
    "similarity": Passes(2, 0),
    "fine_similarity": Passes(2, 1),
    "pair_sdd": Passes(2, 0),
    "distance": Passes(2, 0),
    "one_sided_distance": Passes(2, 0),
    "fine_distance": Passes(2, 2),
    "grad_cam": Passes(2, 0),  # the last stage's gradient needs no backbone
    "patch_cosine": Passes(2, 0),
    "xssab": Passes(3, 2),
    "fggb": Passes(3, 0),  # and one a dimension
    "corr_rise": Passes(2 + 500, 0),
    "occlusion": Passes(2 + 7 * 7, 0),
    "occlusion_of_both": Passes(2 + 2 * 7 * 7, 0),
    "centre": Passes(0, 0),
    "random_map": Passes(0, 0),
    "pixel_difference": Passes(0, 0),
}


def passes(name: str, num_dimensions: int) -> Passes:
    """Return what a method's map costs.

    Args:
        name: in METHODS.
        num_dimensions: of the network's embeddings.
    """
    found = _PASSES[name]
    return found._replace(backward=num_dimensions) if name == "fggb" else found
