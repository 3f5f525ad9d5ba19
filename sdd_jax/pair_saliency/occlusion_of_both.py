"""Occlusion of both images: where covering makes them more alike, they differ."""

from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.occlusion import rises
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.types import Explanation


def occlusion_of_both(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    cells: int = 7,
    window: float = 2 / 7,
    baseline: str = "mean",
) -> Explanation:
    """Return how much the cosine rises when the same window of both is covered.

    Two passes a window: 98 of 7 x 7. Both are to be aligned to each other.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        cells: windows along each axis.
        window: the square's side, as a part of the image's.
        baseline: what covers, a name in `masked.BASELINES`.

    Raises:
        InputError: a number is out of range, or a name is not known.

    References:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
        ECCV 2014, section 4.2, there for one image and a class.
    """
    options = dict(cells=cells, window=window, baseline=baseline)
    return Explanation(rises(model, pair, both=True, **options))
