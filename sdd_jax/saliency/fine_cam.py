"""CAM, placed by finer stages: one backward pass, at several stages at once.

Notation: A_s are the activations of stage s; g_s is the gradient of v . mean(A_last)
by them, for a direction v among the features; u(m) is max(m, 0) divided by the image's
maximum, after the map was placed in the image by its stage's own cells; products are
per pixel.

    T = product over the stages of u(sum_c A_s max(g_s, 0))
    E = product over all but the last of u(sum_c A_s^2)

Of one stage, T is LayerCAM; a product over stages is RefineCAM's idea; `layer_cam.py`
and `refine_cam.py` name the papers. The direction, E, and what is made of them are this
project's own.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import stage_gradients
from sdd_jax.saliency.placement import deepest, finely_placed
from sdd_jax.types import Explanation

TEMPERATURE = checks.real(0, above=True)
MANY = 4096  # classes, of which all count as rivals


def softened_log_odds(
    model: FaceClassifier,
    feature_maps: Float[Array, "batch rows columns features"],
    targets: Int[Array, " batch"],
    *,
    temperature: float = 4.0,
    num_rivals: int = MANY,
) -> Float[Array, " batch"]:
    """Return z_t - temperature * log sum_{k != t} exp(z_k / temperature).

    Its gradient by the mean feature is w_t - sum_{k != t} q_k w_k, where q is the
    softmax over the rivals of their logits, or log-probabilities, over the temperature.

    Args:
        model: the classifier.
        feature_maps: its maps.
        targets: t.
        temperature: 1 gives the log-odds; the larger, the more rivals count.
        num_rivals: the likeliest others count; all where there are no more.

    Raises:
        InputError: there is no rival, or a number is out of range.
    """
    checks.require(temperature, TEMPERATURE, "temperature")
    checks.require(num_rivals, checks.whole(1), "num_rivals")
    if model.num_classes < 2:
        raise InputError(
            f"log-odds among {model.num_classes} class: a target needs a rival, use a "
            f"model of at least 2"
        )
    num_top = min(num_rivals + 1, model.num_classes)
    ranking = model.ranking(feature_maps, targets, num_top=num_top)
    is_target = ranking.classes == targets[:, None]
    logits = jnp.where(is_target, -jnp.inf, ranking.logits)
    rivals = temperature * jax.nn.logsumexp(logits / temperature, axis=1)
    return ranking.target_logits - rivals


def fine_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_stages: int = 3,
    temperature: float = 4.0,
    num_rivals: int = MANY,
    centre: bool = True,
    blur: float = 0.05,
) -> Explanation:
    """Return G = sqrt(u(T) u(CAM) E), blurred, T in the softened log-odds' direction.

    v = w_t - sum_k q_k w_k, with q the softmax over the rivals of their logits over the
    temperature. See the module; a class whose class map is negative everywhere gives a
    flat map.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_stages: how many of the deepest stages count.
        temperature: of q.
        num_rivals: of more classes than this, only the likeliest are rivals.
        centre: of the class map, remove the mean class weight first; see
            `PooledHead.class_maps`.
        blur: standard deviation of the Gaussian at the end, in image widths.

    Raises:
        InputError: there is no rival, or a number is out of range.
    """
    stages = deepest(model, num_stages)

    def objective(feature_maps: Array) -> Array:
        return softened_log_odds(
            model,
            feature_maps,
            clean.targets,
            temperature=temperature,
            num_rivals=num_rivals,
        )

    names = [stage.name for stage in stages]
    found = stage_gradients(model, clean, stages=names, objective=objective)
    targets = clean.targets[:, None]
    maps = model.class_maps(clean.feature_maps, targets, centre=centre)
    return Explanation(finely_placed(model, clean, maps[:, 0], stages, found, blur))
