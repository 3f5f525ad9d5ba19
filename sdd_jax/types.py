"""The values that travel between the modules.

Images are uint8 RGB, [batch, height, width, 3], everywhere outside `models`.
A pytree's fields hold NumPy arrays on the host, JAX arrays on devices, tracers under
`jax.jit`: their shapes are comments, not annotations.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax import checks

# Of red, green and blue in the grey of an image: ITU-R BT.601, as Pillow has it.
LUMA = (0.299, 0.587, 0.114)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """A fixed number of images; the last batch of a split is padded."""

    images: Any  # uint8 [batch, height, width, 3], RGB
    labels: Any  # int32 [batch]
    indices: Any  # int32 [batch], the image's place in its ImageSet
    valid: Any  # bool [batch], False for padding
    regions: Any = None  # bool [batch, height, width], where the set has any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scores:
    """What a head says of the classes asked for, one for each image of a batch."""

    value: Any  # float32 [batch], what methods differentiate: a classifier's logit
    confidence: Any  # float32 [batch], a probability: a classifier's softmax
    log_confidence: Any  # float32 [batch], finite also where confidence rounds to 0
    decision: Any  # int32 [batch], a classifier's predicted class


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ranking:
    """The likeliest classes for a batch, and what makes a probability of a logit."""

    classes: Any  # int32 [batch, num_top], most likely first
    logits: Any  # float32 [batch, num_top], theirs
    normaliser: Any  # float32 [batch], sum of exp(logit - largest) over all classes
    target_logits: Any = None  # float32 [batch], of the classes asked for, if any

    @property
    def probabilities(self) -> Any:
        """Return the likeliest classes' softmax probabilities, [batch, num_top]."""
        below_largest = self.logits - self.logits[:, :1]
        return jnp.exp(below_largest) / self.normaliser[:, None]

    @property
    def target_probabilities(self) -> Any:
        """Return the softmax probabilities of the classes asked for, [batch]."""
        return jnp.exp(self.target_logits - self.logits[:, 0]) / self.normaliser

    @property
    def scores(self) -> Scores:
        """Return the scores of the classes asked for, or of the likeliest if none."""
        if self.target_logits is None:
            value, confidence = self.logits[:, 0], self.probabilities[:, 0]
        else:
            value, confidence = self.target_logits, self.target_probabilities
        log_confidence = value - self.logits[:, 0] - jnp.log(self.normaliser)
        return Scores(value, confidence, log_confidence, self.classes[:, 0])


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a cosine means, as measured on pairs of known people.

    The logarithm of the likelihood ratio, of "one person" against "two people", is
    slope * cosine + offset, and never beyond what the pairs support.
    """

    threshold: float  # from this cosine on two images count as of one person
    slope: float
    offset: float
    lowest: float  # of the natural logarithm of a likelihood ratio
    highest: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Explanation:
    """A method's saliency for a batch, and what else it found on the way."""

    saliency: Any  # float32 [batch, height, width], larger = more important
    details: dict[str, Any] = dataclasses.field(default_factory=dict)  # [batch, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes while training, and what the network needs besides.

    Models are nested dicts of arrays, as `models.variables` returns them.
    """

    step: Any  # int32 [], optimiser steps taken
    params: Any  # what is trained
    batch_stats: Any  # batch norm's running statistics
    frozen: Any  # the rest of the model
    opt_state: Any
    statistics: Any = dataclasses.field(default_factory=dict)  # the loss's running ones


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images with identities, read one at a time."""

    names: tuple[str, ...]  # names[label] is an identity
    files: tuple[str, ...]  # what a person calls each image, e.g. "s1/3.pgm"
    labels: np.ndarray  # int32 [num_images]
    read: Callable[[int], np.ndarray]  # index -> uint8 [size, size, 3], RGB
    # index -> bool [size, size]: where a network must look, or must not; or None
    region: Any = None

    def __post_init__(self) -> None:
        """Let `read` refuse, with an InputError, the place of no image."""
        inner, length = self.read, len(self.files)

        def read(index: int) -> np.ndarray:
            checks.require_places([index], length, "image")
            return inner(index)

        object.__setattr__(self, "read", read)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What a backbone was trained on: (pixel - mean) / scale, channel by channel."""

    size: int  # pixels, height and width
    colour_order: str  # "RGB" or "BGR"
    mean: tuple[float, float, float]  # in the colour order above
    scale: float


@dataclasses.dataclass(frozen=True)
class CellGrid:
    """Where the cells of a feature map lie in the input.

    The centre of cell i is at pixel `offset + stride * i`; pixel centres are whole
    numbers. The half-pixel rule of common resizing is offset = (stride - 1) / 2.
    """

    offset: float
    stride: float


@dataclasses.dataclass(frozen=True)
class Stage:
    """A place in a network where its activations can be looked at."""

    name: str
    cells: CellGrid  # where the activation's cells lie in the image
