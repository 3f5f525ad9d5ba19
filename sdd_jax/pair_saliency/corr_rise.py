"""CorrRISE: how a pixel's being kept goes together with the cosine."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks, keys
from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.covered import covered_cosines
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.masked import require_options
from sdd_jax.types import Explanation

PART = checks.real(0, 1, above=True, below=True)


def corr_rise(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    num_masks: int = 500,
    num_patches: int = 3,
    patch: float = 30 / 112,
    baseline: str = "black",
) -> Explanation:
    """Return each pixel's correlation of being kept with the rank of the cosine.

    The probe is masked by random squares. Pearson's correlation is over the masks; of a
    pixel that is always kept, or never, it is 0.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: of the masks; each pair's own.
        num_masks: how many.
        num_patches: squares that each mask covers.
        patch: a square's side, as a part of the image's.
        baseline: what covers, a name in `masked.BASELINES`.

    Raises:
        InputError: a number is out of range, or a name is not known.

    References:
        Lu, Xu and Ebrahimi, "Towards Visual Saliency Explanations of Face
        Verification", WACV 2024, section 3.
    """
    require_options(score="value", baseline=baseline, num_masks=num_masks, block=1)
    checks.require(num_masks, checks.whole(2), "num_masks")
    checks.require(num_patches, checks.whole(1), "num_patches")
    checks.require(patch, PART, "patch")
    batch, height, width = pair.probe.images.shape[:3]
    image_keys = keys.per_image(key, batch)
    sides = jnp.array([max(1, round(patch * height)), max(1, round(patch * width))])
    room = jnp.array([height, width]) - sides + 1

    def draw(own: Array, number: Array) -> Float[Array, "height width"]:
        shape = (num_patches, 2)
        starts = jax.random.randint(jax.random.fold_in(own, number), shape, 0, room)
        row, column = jnp.arange(height), jnp.arange(width)
        in_rows = (row >= starts[:, :1]) & (row < starts[:, :1] + sides[0])
        in_columns = (column >= starts[:, 1:]) & (column < starts[:, 1:] + sides[1])
        covered = (in_rows[:, :, None] & in_columns[:, None, :]).any(0)
        return 1.0 - covered

    def mask_of(number: Array) -> Array:
        return jax.vmap(draw, in_axes=(0, None))(image_keys, number)

    cosines = covered_cosines(
        model, pair, mask_of, num_masks, both=False, baseline=baseline
    )
    ranks = jnp.argsort(jnp.argsort(cosines, axis=0), axis=0).astype(jnp.float32)
    ranks = (ranks - ranks.mean(0)) / ranks.std(0)

    def add(number: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        kept = mask_of(number)
        return sums[0] + kept, sums[1] + kept * ranks[number][:, None, None]

    zeros = jnp.zeros((batch, height, width), jnp.float32)
    kept, together = jax.lax.fori_loop(0, num_masks, add, (zeros, zeros))
    share = kept / num_masks
    deviation = jnp.sqrt(share * (1 - share))
    varies = (kept > 0) & (kept < num_masks)
    correlation = together / num_masks / jnp.where(varies, deviation, 1)
    return Explanation(jnp.where(varies, correlation, 0))
