"""Losses on explanations: training is told where to look, or where not to.

Every term is one function, [batch] in float32, and has its weight in `train.guidance`;
at 0 it is not computed. The maps are those of the true class, from the last feature
maps: the gradient passes through them at the price of a normal step. A region is a mask
of an image, where the network must not look, or must, with `inside`.

    cam_energy, sdd_energy    the share of a map's energy where it must not be
    sdd_weighted              cross-entropy of features averaged with SDD's weights
    erase                     cross-entropy of a view without what SDD finds salient
    consistency               KL divergence to a view without what SDD finds least so
    input_gradients           squared input gradients where they must not be
    group_dro                 the harder of images with and without a region count more

The maps are SDD's and CAM's with their default settings, whatever `saliency` says.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt8

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ground_truth
from sdd_jax.faithfulness.fills import FILLS
from sdd_jax.faithfulness.ranks import most_salient
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency import CleanPass, sdd
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import NUM_TOP
from sdd_jax.training.objective import Outcomes

NEED_REGIONS = ("cam_energy", "sdd_energy", "input_gradients", "group_dro", "painted")
NEED_WHOLE_HEAD = ("consistency", "input_gradients")
WEIGHTS = (
    *("cam_energy", "sdd_energy", "sdd_weighted", "erase", "consistency"),
    *("input_gradients", "group_dro", "painted"),
)
# What a config's section says where nothing is asked for.
OFF: Mapping[str, Any] = {
    "masks": "",
    "parts": (),
    "inside": False,
    **dict.fromkeys(WEIGHTS, 0.0),
    "detach": True,
    "fraction": 0.2,
    "every": 1,
}
_SHARES = "group_shares"  # of the statistics that a state carries
_FILL = "mean"

Answer = Callable[[Array], Outcomes]  # of feature maps


@dataclasses.dataclass(frozen=True)
class Guidance:
    """What `train.guidance` asks for. The weights are none of it: see `weights`."""

    terms: tuple[str, ...]  # of WEIGHTS, those that are not 0
    inside: bool = False  # the network must look at the regions, not beside them
    detach: bool = True  # sdd_weighted's weights are no part of the gradient
    fraction: float = 0.2  # of the pixels, what erase and consistency fill
    # input_gradients is of this step: it may be of every nth one alone.
    is_due: bool = True

    @property
    def statistics(self) -> dict[str, Any]:
        """Return the running statistics before the first step."""
        return {_SHARES: [0.5, 0.5]} if "group_dro" in self.terms else {}


@dataclasses.dataclass(frozen=True)
class Seen:
    """A batch as a step sees it."""

    model: FaceClassifier
    images: UInt8[Array, "batch height width 3"]
    labels: Int[Array, " batch"]
    feature_maps: Float[Array, "batch rows columns features"]
    regions: Any  # bool [batch, height, width], if a term asks for them
    keys: Any  # each image's own in this step

    def clean(self) -> CleanPass:
        """Return the clean pass with the true classes as targets."""
        ranking = self.model.ranking(self.feature_maps, self.labels, num_top=NUM_TOP)
        return CleanPass(self.images, self.feature_maps, ranking, self.labels)


def named(options: Mapping[str, Any]) -> Guidance | None:
    """Return what a config's `train.guidance` asks for; None where all weights are 0.

    Raises:
        InputError: a term takes a head that is whole, and `train.divide_head` is True.
    """
    given = options["guidance"]
    terms = tuple(name for name in WEIGHTS if given[name])
    needs_whole = [name for name in terms if name in NEED_WHOLE_HEAD]
    if needs_whole and options["divide_head"]:
        raise InputError(
            f"train.guidance.{needs_whole[0]} takes all classes' probabilities, but "
            f"train.divide_head=True leaves a part of them on each device: pass "
            f"--config.train.divide_head=False"
        )
    if not terms:
        return None
    names = ("inside", "detach", "fraction")
    return Guidance(terms, **{name: given[name] for name in names})


def weights(options: Mapping[str, Any]) -> dict[str, Array]:
    """Return the weights of a config's `train.guidance` that are not 0, as arrays.

    A program takes them as arguments: another weight needs no other program.
    """
    given = options["guidance"]
    return {name: jnp.float32(given[name]) for name in WEIGHTS if given[name]}


def guided(
    guidance: Guidance,
    seen: Seen,
    found: Outcomes,
    answer: Answer,
    *,
    weights: Mapping[str, Array],
    statistics: Mapping[str, Array],
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Return the loss to make small, each term's mean, and the next statistics.

    Args:
        guidance: what is asked for.
        seen: the batch.
        found: what the head makes of it.
        answer: feature maps of these images -> what the head makes of them.
        weights: by term.
        statistics: the guidance's own, before this batch.
    """
    value, statistics = found.losses.mean(), dict(statistics)
    if "group_dro" in guidance.terms:
        value, shares = group_dro(
            found.losses, seen.regions, statistics[_SHARES], weights["group_dro"]
        )
        statistics[_SHARES] = shares
    terms: dict[str, Array] = {}
    for name, term in _TERMS.items():
        if name in guidance.terms:
            terms[name] = term(guidance, seen, answer).mean()
            value = value + weights[name] * terms[name]
    return value, terms, statistics


def misplaced_energy(
    maps: Float[Array, "batch height width"],
    regions: Bool[Array, "batch height width"],
    *,
    inside: bool,
) -> Float[Array, " batch"]:
    """Return the share of the maps' positive part that is where it must not be.

    An image without a region has none. A map without positive values counts as an even
    one, which no gradient comes from.

    Args:
        maps: at the images' resolution.
        regions: where the network must not look.
        inside: it must look there, and nowhere else.

    References:
        Rao, Boehle, Parchami-Araghi and Schiele, "Studying How to Efficiently and
        Effectively Guide Models with Explanations", ICCV 2023, the energy loss.
    """
    share = ground_truth.energy_inside(maps, regions)
    has_region = regions.any((1, 2))
    return jnp.where(has_region, 1 - share if inside else share, 0.0)


def weighted_average(
    feature_maps: Float[Array, "batch rows columns features"],
    cells: Float[Array, "batch rows columns"],
) -> Float[Array, "batch rows columns features"]:
    """Return feature maps whose average over cells is the weighted one.

    Args:
        feature_maps: the maps.
        cells: each cell's weight, not below 0; of an image they need not add up to 1.
    """
    relative = cells / cells.mean((1, 2), keepdims=True)
    return feature_maps * relative[..., None].astype(feature_maps.dtype)


def divergence_of(
    logits: Float[Array, "batch classes"], others: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Return the KL divergence from the first predictions to the others, in nats.

    References:
        Ismail, Corrada Bravo and Feizi, "Improving Deep Learning Interpretability by
        Saliency Guided Training", NeurIPS 2021, equation 1.
    """
    ours, theirs = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
    return (jnp.exp(ours) * (ours - theirs)).sum(1)


def misplaced_gradients(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    regions: Bool[Array, "batch height width"],
    *,
    inside: bool,
) -> Float[Array, " batch"]:
    """Return the squared gradients of sum_k log p_k where they must not be, summed.

    By the numbers that the backbone takes. An image without a region has none.

    References:
        Ross, Hughes and Doshi-Velez, "Right for the Right Reasons: Training
        Differentiable Models by Constraining their Explanations", IJCAI 2017,
        equation 1.
    """
    # A model of its own: batch norm's updates must not leave the inner gradient.
    graphdef, arrays = nnx.split(model)

    def total(pixels: Array) -> Array:
        inner = nnx.merge(graphdef, arrays, copy=True)
        logits = inner.logits(inner.backbone(pixels))
        return jax.nn.log_softmax(logits).sum()

    gradients = jax.grad(total)(model.normalised(images))
    has_region = regions.any((1, 2), keepdims=True)
    is_wrong = (~regions if inside else regions) & has_region
    return (is_wrong[..., None] * gradients**2).sum((1, 2, 3))


def group_dro(
    losses: Float[Array, " batch"],
    regions: Bool[Array, "batch height width"],
    shares: Float[Array, "2"],
    step_size: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, "2"]]:
    """Return the groups' mean losses, weighted by their shares, and the next shares.

    The groups are the images without a region and those with one. The harder group's
    share grows; a group that is not in the batch keeps its own, but for the scale.

    References:
        Sagawa, Koh, Hashimoto and Liang, "Distributionally Robust Neural Networks for
        Group Shifts", ICLR 2020, algorithm 1.
    """
    has_region = regions.any((1, 2))
    members = jnp.stack([~has_region, has_region])
    sums = jnp.where(members, losses, 0.0).sum(1)
    means = sums / jnp.maximum(members.sum(1), 1)
    grown = shares * jnp.exp(step_size * jax.lax.stop_gradient(means))
    shares = grown / grown.sum()
    return (shares * means).sum(), shares


def painted(
    images: UInt8[Array, "batch height width 3"],
    regions: Bool[Array, "batch height width"],
    keys: Key[Array, " batch"],
    *,
    share: Float[Array, ""],
) -> UInt8[Array, "batch height width 3"]:
    """Return images of which a share has its regions filled with the mean colour.

    No loss, but the plainest way to make a network look elsewhere, or what the losses
    must beat.
    """
    drawn = jax.vmap(jax.random.uniform)(jax.vmap(_folded)(keys))
    hidden = regions & (drawn < share)[:, None, None]
    return FILLS[_FILL](images, ~hidden, keys)


def _folded(key: Array) -> Array:
    return jax.random.fold_in(key, 1)  # augmentation draws from the key itself


def _salient(guidance: Guidance, seen: Seen, sign: int) -> Array:
    """Return SDD's most salient pixels, or with sign -1 its least."""
    clean = jax.lax.stop_gradient(seen.clean())
    maps = sdd.sdd(seen.model, clean, seen.keys).saliency
    keys = jax.vmap(_folded)(seen.keys)
    maps = jax.lax.stop_gradient(sign * maps)
    return most_salient(maps, keys, fraction=guidance.fraction)


def _second_view(seen: Seen, hidden: Array) -> Array:
    """Return the feature maps of images with pixels filled."""
    images = FILLS[_FILL](seen.images, ~hidden, seen.keys)
    return seen.model.feature_maps(images)


def _cam_energy(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    maps = seen.model.class_maps(seen.feature_maps, seen.labels[:, None], centre=True)
    maps = upsample(maps[:, 0], seen.images.shape[1:3], seen.model.cells)
    return misplaced_energy(maps, seen.regions, inside=guidance.inside)


def _sdd_energy(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    maps = sdd.sdd(seen.model, seen.clean(), seen.keys).saliency
    return misplaced_energy(maps, seen.regions, inside=guidance.inside)


def _sdd_weighted(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    exponent, _ = sdd.exponent(seen.model, seen.clean())
    cells = jnp.exp(exponent)
    if guidance.detach:
        cells = jax.lax.stop_gradient(cells)
    return answer(weighted_average(seen.feature_maps, cells)).losses


def _erase(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    return answer(_second_view(seen, _salient(guidance, seen, 1))).losses


def _consistency(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    others = _second_view(seen, _salient(guidance, seen, -1))
    logits = seen.model.logits
    return divergence_of(logits(seen.feature_maps), logits(others))


def _input_gradients(guidance: Guidance, seen: Seen, answer: Answer) -> Array:
    if not guidance.is_due:
        return jnp.zeros(len(seen.labels))
    return misplaced_gradients(
        seen.model, seen.images, seen.regions, inside=guidance.inside
    )


Term = Callable[[Guidance, Seen, Answer], Array]
_TERMS: Mapping[str, Term] = {
    "cam_energy": _cam_energy,
    "sdd_energy": _sdd_energy,
    "sdd_weighted": _sdd_weighted,
    "erase": _erase,
    "consistency": _consistency,
    "input_gradients": _input_gradients,
}
