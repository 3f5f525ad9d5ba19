"""How strongly a stage responds: a control that knows of no class."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.activations import activations_at
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation


def activation_energy(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return sum_k A_k^2, whoever is explained.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.
    """
    activations, cells = activations_at(model, clean, stage)
    maps = (activations.astype(jnp.float32) ** 2).sum(3)
    return Explanation(upsample(maps, clean.images.shape[1:3], cells))
