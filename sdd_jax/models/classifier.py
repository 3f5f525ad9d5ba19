"""FaceClassifier: uint8 RGB images -> feature maps -> logits and class maps.

Only the input spec knows what a backbone was trained on (size, colour order, mean,
scale); here is the one place where channels could be mixed up.

A model is described by a plain dict that is stored with its weights:

    {"backbone": {"name": "dlib_resnet", "num_blocks": 10},
     "head": {"name": "pooled", "num_classes": 40}}

and, where the published weights ask for it, {"input": {"colour_order": "RGB"}}.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int, UInt8

from sdd_jax import checkpoints, sharding
from sdd_jax.errors import InputError
from sdd_jax.models import dlib_resnet, ir_resnet, sface
from sdd_jax.models.embedding_heads import FlatEmbedding, PooledEmbedding
from sdd_jax.models.heads import PooledHead
from sdd_jax.types import CellGrid, InputSpec, Ranking, Scores, Stage

BACKBONES = {
    "dlib_resnet": (dlib_resnet.DlibResNet, dlib_resnet.INPUT),
    "ir_resnet": (ir_resnet.IRResNet, ir_resnet.INPUT),
    "sface": (sface.SFaceNet, sface.INPUT),
}

HEAD_SHARE = 0.25  # of a device's memory: a larger head is divided among the devices


class FaceClassifier(nnx.Module):
    """Input spec, backbone and head."""

    def __init__(self, spec: InputSpec, backbone: Any, head: Any):
        """Join the three parts; `build` makes them."""
        self.spec = spec
        self.backbone = backbone
        self.head = head

    @property
    def cells(self) -> CellGrid:
        """Return where the feature maps' cells lie in the image."""
        return self.backbone.cells

    def feature_maps(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Float[Array, "batch rows columns features"]:
        """Return the last convolution's output for RGB images of the spec's size."""
        return self.backbone(self.normalised(images))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return where activations can be looked at, shallow to deep.

        The last stage's are the feature maps.
        """
        return self.backbone.stages

    def with_taps(
        self, images: UInt8[Array, "batch height width 3"], taps: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch rows columns features"], dict[str, Array]]:
        """Return the feature maps, and the tapped stages' activations by name.

        Args:
            images: as for `feature_maps`.
            taps: for some stages, zeros that fit their activations' shapes, to
                differentiate by: they are added to the activations.
        """
        return self.backbone.with_taps(self.normalised(images), taps)

    def normalised(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Float[Array, "batch height width 3"]:
        """Return the numbers the backbone takes, in its own colour order.

        `backbone(normalised(images))` are the feature maps; a method that needs the
        gradient by the image differentiates between the two.
        """
        size = self.spec.size
        if images.shape[1:3] != (size, size):
            raise InputError(
                f"images of {images.shape[1]}x{images.shape[2]} pixels were given, "
                f"but the network takes {size}x{size}: resize them first"
            )
        if images.dtype != jnp.uint8:
            raise InputError(
                f"images of {images.dtype} were given, but the network takes uint8, "
                f"0 to 255: convert them first"
            )
        pixels = images.astype(jnp.float32)
        if self.spec.colour_order == "BGR":
            pixels = pixels[..., ::-1]
        return (pixels - jnp.array(self.spec.mean)) / self.spec.scale

    def _head(self, ability: str) -> Any:
        if not hasattr(self.head, ability):
            raise InputError(
                f"this model's head, {type(self.head).__name__}, has no {ability}: "
                f"fine-tuned models classify, converted ones embed, and only "
                f"AdaFace's and SFace's embeddings have norms"
            )
        return self.head

    def logits(
        self, feature_maps: Float[Array, "batch rows columns features"]
    ) -> Float[Array, "batch classes"]:
        """Return one logit a class."""
        return self._head("logits").logits(feature_maps)

    @property
    def num_classes(self) -> int:
        """Return the number of classes the head tells apart."""
        return self._head("num_classes").num_classes

    def ranking(
        self,
        feature_maps: Float[Array, "batch rows columns features"],
        targets: Int[Array, " batch"] | None = None,
        *,
        num_top: int = 1,
    ) -> Ranking:
        """Return the likeliest classes and their probabilities; see `PooledHead`.

        For any number of classes, as `logits` are for few.
        """
        return self._head("ranking").ranking(feature_maps, targets, num_top=num_top)

    def scores(
        self,
        feature_maps: Float[Array, "batch rows columns features"],
        targets: Int[Array, " batch"],
    ) -> Scores:
        """Return each target's value, its confidence, and the head's decision."""
        return self._head("scores").scores(feature_maps, targets)

    def class_maps(
        self,
        feature_maps: Float[Array, "batch rows columns features"],
        classes: Int[Array, "batch classes"],
        *,
        centre: bool = False,
    ) -> Float[Array, "batch classes rows columns"]:
        """Return the class activation maps of the classes asked for."""
        head = self._head("class_maps")
        return head.class_maps(feature_maps, classes, centre=centre)

    def embeddings(
        self, feature_maps: Float[Array, "batch rows columns features"]
    ) -> Float[Array, "batch dimensions"]:
        """Return the published network's own face embedding."""
        return self._head("embeddings").embeddings(feature_maps)

    def embeddings_and_norms(
        self, feature_maps: Float[Array, "batch rows columns features"]
    ) -> tuple[Float[Array, "batch dimensions"], Float[Array, " batch"]]:
        """Return AdaFace's embeddings, of length 1, and the lengths they had."""
        return self._head("embeddings_and_norms").embeddings_and_norms(feature_maps)


def _make_head(
    options: Mapping[str, Any], num_features: int, rngs: nnx.Rngs
) -> PooledHead | PooledEmbedding | FlatEmbedding:
    options = dict(options)
    name = options.pop("name")
    if name == "pooled":
        return PooledHead(num_features, **options)
    if name == "pooled_embedding":
        return PooledEmbedding(num_features, **options, rngs=rngs)
    if name == "flat_embedding":
        return FlatEmbedding(num_features, **options, rngs=rngs)
    raise InputError(
        f"unknown head {name!r}: expected pooled, pooled_embedding or flat_embedding"
    )


def backbone_options(name: str) -> set[str]:
    """Return the options of the backbone of that name."""
    parameters = inspect.signature(BACKBONES[name][0].__init__).parameters
    return set(parameters) - {"self", "rngs"}


def input_spec(description: Mapping[str, Any]) -> InputSpec:
    """Return what the described backbone expects of its images."""
    name = description["backbone"]["name"]
    if name not in BACKBONES:
        raise InputError(
            f"unknown backbone {name!r}: expected one of {', '.join(BACKBONES)}"
        )
    known = backbone_options(name)
    for option in description["backbone"].keys() - {"name"} - known:
        raise InputError(
            f"model.backbone.{option} is no setting of {name}: expected some of "
            f"{', '.join(sorted(known))}"
        )
    spec = dataclasses.replace(BACKBONES[name][1], **description.get("input", {}))
    if spec.colour_order not in ("RGB", "BGR"):
        raise InputError(
            f"the network's colour order is {spec.colour_order!r}: expected RGB or BGR"
        )
    return spec


def build(description: Mapping[str, Any], *, seed: int = 0) -> FaceClassifier:
    """Return the described model with a fresh initialisation, ready for evaluation.

    Raises:
        InputError: a backbone or a head of that name does not exist.
    """
    spec = input_spec(description)
    rngs = nnx.Rngs(seed)
    options = dict(description["backbone"])
    backbone = BACKBONES[options.pop("name")][0](**options, rngs=rngs)
    head = _make_head(description["head"], backbone.num_features, rngs)
    model = FaceClassifier(spec, backbone, head)
    model.set_attributes(use_running_average=True, raise_if_not_found=False)
    return model


def variables(model: FaceClassifier) -> dict[str, Any]:
    """Return all that a checkpoint keeps of a model, as a nested dict of arrays."""
    arrays = nnx.to_pure_dict(nnx.state(model))
    if getattr(model.head, "is_divided", False):
        # Without what makes up the last device's part.
        for name in ("kernel", "offset"):
            whole = sharding.to_host(arrays["head"][name])
            arrays["head"][name] = whole[..., : model.num_classes]
    return arrays


def placed(
    model: FaceClassifier, *, divide_head: bool | None = None, copies: int = 1
) -> FaceClassifier:
    """Return the model on the mesh's devices: a whole copy on each, but for the head.

    Args:
        model: the classifier; its arrays may still be NumPy's.
        divide_head: whether each device holds a part of the head's classes only. By
            default where the head would take more than `HEAD_SHARE` of a device's
            memory; devices that do not tell their memory (CPUs) get a whole copy.
        copies: how many arrays of the head's size there will be; training has four.
    """
    head = model.head
    if divide_head is None:
        memory = sharding.device_memory()
        num_bytes = copies * sum(x.nbytes for x in jax.tree.leaves(nnx.state(head)))
        divide_head = memory is not None and num_bytes > HEAD_SHARE * memory
    divide_head &= isinstance(head, PooledHead) and sharding.num_devices() > 1
    backbone = replicated(model.backbone)
    head = head.divided() if divide_head else replicated(head)
    return FaceClassifier(model.spec, backbone, head)


def replicated(module: nnx.Module) -> nnx.Module:
    """Return the module with a whole copy of its arrays on every device."""
    graphdef, state = nnx.split(module)
    return nnx.merge(graphdef, sharding.replicate(state))


def with_variables(
    description: Mapping[str, Any], arrays: Mapping[str, Any]
) -> FaceClassifier:
    """Return the described model with the given arrays, ready for evaluation."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: build(description)))
    return nnx.merge(graphdef, nnx.State(arrays))


def load(
    directory: str | Path,
    *,
    step: int | None = None,
    divide_head: bool | None = None,
    copies: int = 1,
) -> FaceClassifier:
    """Return the model of a fine-tuned workdir or of a converted checkpoint.

    Args:
        directory: what `main.py` was given as workdir, or `weights_conversion` as
            output.
        step: which checkpoint; by default the best on the validation images.
        divide_head: see `placed`.
        copies: see `placed`.

    Raises:
        InputError: there is no checkpoint, it is damaged, does not fit the model it
            describes, or has weights that are NaN or infinite.
    """
    step = checkpoints.best_step(directory) if step is None else step
    description = checkpoints.description(directory, step)["model"]
    expected = nnx.eval_shape(lambda: variables(build(description)))
    trees = checkpoints.load(directory, step, {"model": expected})
    place = checkpoints.path(directory, step)
    checkpoints.require_finite(
        trees, f"the checkpoint {place} answers nothing: train or convert it again"
    )
    arrays = trees["model"]
    model = with_variables(description, arrays)
    return placed(model, divide_head=divide_head, copies=copies)
