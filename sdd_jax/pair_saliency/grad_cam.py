"""Grad-CAM to the cosine: activations, weighted by their channel's mean gradient."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.gradients import cosine_gradients
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.grad_cam import grad_cam_map
from sdd_jax.types import Explanation


def grad_cam(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return max(0, sum_k mean(g_k) A_k) of the last stage; g the cosine's gradient.

    Cells of such networks have weights of their own, which the mean over cells mixes
    up: it is an anchor, not a recommendation.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual
        Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
        equations 1 and 2, there for the logit of a class.
    """
    gradients = cosine_gradients(model, pair)[model.stages[-1].name]
    cells = grad_cam_map(pair.probe.feature_maps, gradients.astype(jnp.float32))
    return Explanation(upsample(cells, pair.probe.images.shape[1:3], model.cells))
