"""The pass of a pair: what every method of pairs starts from, computed once.

A pair is a probe, which is explained, and a reference, which it is compared with. An
embedding is a sum over cells, e = sum_hw z_hw + c; the cosine is that of both sides'.
Under `jax.jit`, what no method asks for is not computed.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt8

from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.models.gallery import embedding_of
from sdd_jax.saliency.clean import staged


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Side:
    """What the network says of one image of each pair."""

    images: Any  # uint8 RGB [batch, height, width, 3]
    feature_maps: Any  # float [batch, rows, columns, features]
    cells: Any  # float32 [batch, rows, columns, dimensions], z
    embeddings: Any  # float32 [batch, dimensions], sum of z, + c: of any length
    norms: Any  # float32 [batch], those lengths
    activations: Any  # by stage, float [batch, rows, columns, channels]
    # The cotangent of the feature maps -> of the stages' activations, by name.
    pullback: Any

    @property
    def directions(self) -> Array:
        """Return the embeddings, made of length 1."""
        return self.embeddings / self.norms[:, None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairPass:
    """What the network says of pairs of intact images."""

    probe: Side
    reference: Side
    bias: Any  # float32 [dimensions], c: what no cell adds to an embedding
    cosine: Any  # float32 [batch]

    def swapped(self) -> "PairPass":
        """Return the pairs with both sides' roles exchanged: maps on the reference."""
        return dataclasses.replace(self, probe=self.reference, reference=self.probe)


def pair_pass(
    model: FaceClassifier,
    probes: UInt8[Array, "batch height width 3"],
    references: UInt8[Array, "others _ _ 3"],
) -> PairPass:
    """Return the pass of pairs of images, for all methods.

    Args:
        model: one that embeds, or has a gallery, whose people play no part here.
        probes: RGB.
        references: RGB, one for each probe.

    Raises:
        InputError: the model does not embed, or there is not one reference a probe.
    """
    if probes.shape != references.shape:
        raise InputError(
            f"the probes are of shape {probes.shape}, the references of "
            f"{references.shape}: expected one reference for each probe, of its size"
        )
    layer = embedding_of(model)
    # c is the same for all images; of one side it is enough.
    (probe, bias), (reference, _) = (
        _side(model, layer, images) for images in (probes, references)
    )
    cosine = jnp.einsum(
        "bd,bd->b", probe.directions, reference.directions, precision="highest"
    )
    return PairPass(probe, reference, bias, cosine)


def _side(
    model: FaceClassifier, layer: Any, images: UInt8[Array, "batch height width 3"]
) -> tuple[Side, Float[Array, " dimensions"]]:
    feature_maps, activations, pullback = staged(model, images)
    cells, bias = layer.cells_and_bias(feature_maps)
    embeddings = cells.sum((1, 2)) + bias
    norms = jnp.linalg.norm(embeddings, axis=1)
    side = Side(images, feature_maps, cells, embeddings, norms, activations, pullback)
    return side, bias
