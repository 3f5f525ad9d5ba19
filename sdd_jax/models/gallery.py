"""A gallery is a head: enrolled references are its classes, cosines are its logits.

Feature maps are float, [batch, height, width, features]; references are embeddings,
float32, one a person. All that takes a classifier takes a gallery:

    value       the cosine similarity of an image and a reference
    confidence  the probability that both are of one person, where that was as likely
                as not beforehand; NaN without a calibration
    decision    the reference's class where the cosine reaches the threshold, else
                NOBODY; without a calibration UNDECIDED

A class map is the exact similarity map: its sum plus its bias is the cosine.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.embedding_heads import (
    FlatEmbedding,
    PooledEmbedding,
    similarity_maps,
)
from sdd_jax.models.ranking import BLOCK, rank
from sdd_jax.types import Calibration, Ranking, Scores

NOBODY, UNDECIDED = -1, -2  # decisions that are no class


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GalleryRanking(Ranking):
    """The nearest references of a batch; `logits` are cosines."""

    calibration: Calibration | None = dataclasses.field(
        default=None, metadata=dict(static=True)
    )

    @property
    def probabilities(self) -> Array:
        """Return the nearest references' probabilities, [batch, num_top]."""
        return jnp.exp(log_probabilities(self.logits, self.calibration))

    @property
    def target_probabilities(self) -> Array:
        """Return the probabilities of the classes asked for, [batch]."""
        return jnp.exp(log_probabilities(self.target_logits, self.calibration))

    @property
    def scores(self) -> Scores:
        """Return the scores of the classes asked for, or of the nearest if none.

        The decision is about the nearest reference: it, or NOBODY.
        """
        value = self.logits[:, 0] if self.target_logits is None else self.target_logits
        log_confidence = log_probabilities(value, self.calibration)
        if self.calibration is None:
            decision = jnp.full_like(self.classes[:, 0], UNDECIDED)
        else:
            is_near = self.logits[:, 0] >= self.calibration.threshold
            decision = jnp.where(is_near, self.classes[:, 0], NOBODY)
        return Scores(value, jnp.exp(log_confidence), log_confidence, decision)


def log_probabilities(
    cosines: Float[Array, "..."], calibration: Calibration | None
) -> Float[Array, "..."]:
    """Return log P(one person | cosine) at even odds; NaN without a calibration.

    References:
        Brummer, du Preez, "Application-Independent Evaluation of Speaker Detection",
        Computer Speech and Language 20, 2006, section 4 (the affine calibration).
    """
    if calibration is None:
        return jnp.full_like(cosines, jnp.nan)
    ratios = calibration.slope * cosines + calibration.offset
    return jax.nn.log_sigmoid(jnp.clip(ratios, calibration.lowest, calibration.highest))


class Reference(nnx.Variable):
    """Enrolled embeddings; never trained."""


class GalleryHead(nnx.Module):
    """References beside the layer that makes embeddings; it answers as `PooledHead`."""

    def __init__(
        self,
        embedding: FlatEmbedding | PooledEmbedding,
        references: Float[np.ndarray | Array, "classes dimensions"],
        calibration: Calibration | None = None,
    ):
        """Enrol the references, one a person; `references_of` makes them of images.

        Raises:
            InputError: there is none, or one is NaN, infinite or 0.
        """
        given = np.asarray(references)
        # Of a million in float64 there is no room for a copy.
        squares = np.einsum("cd,cd->c", given, given, dtype=np.float64)
        lengths = np.sqrt(squares)
        require_directions(lengths, [f"reference {i}" for i in range(len(lengths))])
        if not len(lengths):
            raise InputError("the gallery has no reference, expected at least one")
        self.embedding = embedding
        self.num_classes = len(lengths)
        self.calibration = calibration
        directions = np.empty(given.shape[::-1], np.float32)
        np.divide(given.T, lengths, out=directions, casting="same_kind")
        self.references = Reference(jnp.asarray(directions))

    def embeddings(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch dimensions"]:
        """Return embeddings of length 1."""
        found = self.embedding.embeddings(feature_maps)
        return found / jnp.linalg.norm(found, axis=1, keepdims=True)

    def logits(
        self, feature_maps: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch classes"]:
        """Return every reference's cosine; `ranking` is for so many they do not fit."""
        embeddings = self.embeddings(feature_maps)
        return jnp.dot(embeddings, self.references[...], precision="highest")

    def ranking(
        self,
        feature_maps: Float[Array, "batch height width features"],
        targets: Int[Array, " batch"] | None = None,
        *,
        num_top: int = 1,
        block: int = BLOCK,
    ) -> GalleryRanking:
        """Return the nearest references, a block of cosines at a time.

        Args:
            feature_maps: of the images.
            targets: for each image, a class whose cosine is asked for as well. Under
                `jax.jit`, where nothing can be refused, that of no class is NaN.
            num_top: how many of the nearest; all where there are fewer.
            block: the number of references whose cosines exist at a time.

        Raises:
            InputError: a target is no class, or a count is below 1.
        """
        checks.require(num_top, checks.whole(1), "num_top")
        checks.require(block, checks.whole(1), "block")
        if targets is not None:
            shape = (len(feature_maps),)
            targets = checks.classes(targets, self.num_classes, "targets", shape)
        found = rank(
            self.embeddings(feature_maps),
            self.references[...],
            jnp.zeros(self.num_classes),
            targets,
            num_top=num_top,
            block=block,
        )
        target_logits = found.target_logits
        if targets is not None:
            is_class = checks.are_classes(targets, self.num_classes)
            target_logits = jnp.where(is_class, target_logits, jnp.nan)
        return GalleryRanking(
            found.classes,
            found.logits,
            found.normaliser,
            target_logits,
            self.calibration,
        )

    def scores(
        self,
        feature_maps: Float[Array, "batch height width features"],
        targets: Int[Array, " batch"],
    ) -> Scores:
        """Return the targets' cosines and probabilities, and who is decided for.

        Raises:
            InputError: a target is no class; see `ranking`.
        """
        return self.ranking(feature_maps, targets).scores

    def class_maps_and_bias(
        self,
        feature_maps: Float[Array, "batch height width features"],
        classes: Int[Array, "batch classes"],
    ) -> tuple[
        Float[Array, "batch classes height width"], Float[Array, "batch classes"]
    ]:
        """Return similarity maps, and what with their sums makes the cosines.

        Raises:
            InputError: a class is none. Under `jax.jit`, where nothing can be refused,
                its map is NaN.
        """
        shape = (len(feature_maps), None)
        classes = checks.classes(classes, self.num_classes, "classes", shape)
        is_class = checks.are_classes(classes, self.num_classes)
        columns = jnp.take(self.references[...], classes, axis=1)
        columns = jnp.where(is_class, columns, jnp.nan)
        return similarity_maps(
            self.embedding, feature_maps, jnp.moveaxis(columns, 0, 2)
        )

    def class_maps(
        self,
        feature_maps: Float[Array, "batch height width features"],
        classes: Int[Array, "batch classes"],
        *,
        centre: bool = False,
    ) -> Float[Array, "batch classes height width"]:
        """Return similarity maps; see `class_maps_and_bias`.

        `centre` changes nothing. What all references share is part of a cosine, and of
        whether it reaches the threshold: it is nothing to be removed.
        """
        return self.class_maps_and_bias(feature_maps, classes)[0]


def embedding_of(model: FaceClassifier) -> FlatEmbedding | PooledEmbedding:
    """Return the layer of a model, or of its gallery, that makes embeddings.

    Raises:
        InputError: the model does not embed.
    """
    embedding = getattr(model.head, "embedding", model.head)
    if not isinstance(embedding, FlatEmbedding | PooledEmbedding):
        raise InputError(
            f"this model's head, {type(model.head).__name__}, makes no embeddings: "
            f"take a converted network, not a fine-tuned one"
        )
    return embedding


def with_gallery(
    model: FaceClassifier,
    references: Float[np.ndarray | Array, "classes dimensions"],
    calibration: Calibration | None = None,
) -> FaceClassifier:
    """Return a model that embeds, or one with a gallery, with these references.

    Raises:
        InputError: the model does not embed, or not in so many dimensions, or a
            reference is no direction.
    """
    embedding = embedding_of(model)
    last = embedding.linear if isinstance(embedding, FlatEmbedding) else embedding
    dimensions = last.kernel[...].shape[1]
    if references.shape[1] != dimensions:
        raise InputError(
            f"the references have {references.shape[1]} dimensions, but the network's "
            f"embeddings {dimensions}: enrol them with this network"
        )
    head = GalleryHead(embedding, references, calibration)
    return FaceClassifier(model.spec, model.backbone, head)


def references_of(
    embeddings: Float[np.ndarray, "images dimensions"],
    labels: Int[np.ndarray, " images"],
    files: Sequence[str],
) -> Float[np.ndarray, "people dimensions"]:
    """Return one reference a person, by rising label: mean of unit vectors, made unit.

    Args:
        embeddings: of any length.
        labels: whose images they are.
        files: what a person calls each image, for the error.

    Raises:
        InputError: an embedding is NaN, infinite or 0, or a person's cancel out.

    References:
        Maze et al., "IARPA Janus Benchmark - C: Face Dataset and Protocol", ICB 2018:
        templates, several images of a person compared as one.
    """
    values = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(values, axis=1)
    require_directions(lengths, files)
    people, places = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(people), values.shape[1]))
    np.add.at(sums, places, values / lengths[:, None])
    lengths = np.linalg.norm(sums, axis=1)
    require_directions(lengths, [f"the mean of person {label}" for label in people])
    return (sums / lengths[:, None]).astype(np.float32)


def require_directions(
    lengths: Float[np.ndarray, " images"], files: Sequence[str]
) -> None:
    """Raise InputError where the embedding of an image points nowhere.

    Args:
        lengths: of the embeddings.
        files: what a person calls each image.
    """
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        raise InputError(
            f"the embedding is NaN, infinite or 0 for {bad.sum()} of {len(bad)} images "
            f"(the first: {files[int(bad.argmax())]}): its activations overflow, or "
            f"the weights are damaged; let compute_dtype be float32, or convert the "
            f"network again"
        )
