"""The activations of one stage, for methods that take no gradients."""

from jax import Array
from jaxtyping import Float

from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import stage_activations
from sdd_jax.types import CellGrid


def activations_at(
    model: FaceClassifier, clean: CleanPass, stage: str | None
) -> tuple[Float[Array, "batch rows columns channels"], CellGrid]:
    """Return a stage's activations, and where their cells lie in the image.

    Args:
        model: the classifier.
        clean: its clean pass, which has the last stage's: the feature maps.
        stage: a name in `model.stages`; the last where None. Another needs a pass
            through the network, where the clean pass does not keep its stages.

    Raises:
        InputError: there is no stage of that name.
    """
    if stage is None or stage == model.stages[-1].name:
        return clean.feature_maps, model.cells
    cells = {known.name: known.cells for known in model.stages}
    if stage not in cells:
        raise InputError(f"unknown stage {stage!r}: expected one of {', '.join(cells)}")
    return stage_activations(model, clean, [stage])[stage], cells[stage]
