"""CAM, placed by how strongly finer stages respond: no backward pass."""

from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import stage_activations
from sdd_jax.saliency.placement import blurred, deepest, energy, unit
from sdd_jax.types import Explanation


def energy_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_stages: int = 3,
    centre: bool = True,
    blur: float = 0.05,
) -> Explanation:
    """Return u(CAM) E, blurred: class maps know what, finer stages where.

    E is the product of u(sum_c A_s^2) over the finer stages s, each placed in the image
    by its own cells; u(m) is max(m, 0) divided by the image's maximum. This is this
    project's own method. A class whose map is negative everywhere gives a flat map.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_stages: how many of the deepest stages count; the last of them is the class
            map's, so 1 leaves the blurred class map.
        centre: remove the mean class weight first; see `PooledHead.class_maps`.
        blur: standard deviation of the Gaussian at the end, in image widths.

    Raises:
        InputError: `num_stages` or `blur` is out of range.
    """
    size = clean.images.shape[1:3]
    stages = deepest(model, num_stages)
    activations = stage_activations(model, clean, [stage.name for stage in stages])
    targets = clean.targets[:, None]
    maps = model.class_maps(clean.feature_maps, targets, centre=centre)
    class_map = unit(upsample(maps[:, 0], size, model.cells))
    return Explanation(blurred(class_map * energy(stages, activations, size), blur))
