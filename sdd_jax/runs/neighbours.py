"""Who else in a gallery is near the two images of a pair."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.models.gallery import references_of
from sdd_jax.runs import embedder, galleries
from sdd_jax.runs.embedded_pairs import EmbeddedPairs
from sdd_jax.runs.pair_images import NOBODY, PairImage
from sdd_jax.types import ImageSet


class Around(NamedTuple):
    """The gallery, seen from a pair's two images."""

    source: str  # what the gallery is of
    nearest: list[dict[str, Any]]  # of the probe: name, cosine; nearest first
    rank: int | None  # of the reference's person among these; None where nobody knows
    references: Float[np.ndarray, "people dimensions"]
    cosines: Float[np.ndarray, "2 people"]  # of the probe and of the reference
    is_other: np.ndarray  # bool [people]: neither the probe's nor the reference's

    def rivals_of(self, threshold: float, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest impostors' references, [rivals, dimensions], of each side.

        Impostors are others whose cosine with that side is below the threshold: above
        it somebody may be the same person under another name.
        """
        found = []
        for cosines in self.cosines:
            places = np.flatnonzero(self.is_other & (cosines < threshold))
            places = places[np.argsort(-cosines[places], kind="stable")][:number]
            if not len(places):
                raise InputError(
                    "the gallery has nobody else who is below the threshold: expected "
                    "others to compare with; add people to the data or the gallery"
                )
            found.append(self.references[places])
        return found[0], found[1]


def around(
    config: Mapping[str, Any], known: EmbeddedPairs, pair: tuple[PairImage, PairImage]
) -> Around:
    """Return who is near a pair: in a gallery that was given, or else in the data.

    In the data, a person's reference is the mean over all their images but the pair's
    own.

    Raises:
        InputError: the gallery was made by another network, or an embedding is NaN,
            infinite or 0.
    """
    path = config["explain_pair"]["gallery"]
    names, references, source = (
        _of_gallery(config, known, path) if path else _of_data(known, pair)
    )
    own = _embeddings(known, pair, config["verify"]["batch_size"])
    cosines = own @ references.astype(np.float64).T
    people = [
        known.images.names[one.label] if one.label != NOBODY else None for one in pair
    ]
    order = np.argsort(-cosines[0], kind="stable")
    nearest = [{"name": names[i], "cosine": float(cosines[0, i])} for i in order]
    rank = None
    if people[1] in names:
        rank = 1 + [each["name"] for each in nearest].index(people[1])
    is_other = np.array([name not in people for name in names])
    return Around(source, nearest, rank, references, cosines, is_other)


def _of_data(
    known: EmbeddedPairs, pair: tuple[PairImage, PairImage]
) -> tuple[list[str], np.ndarray, str]:
    images, own = known.images, {one.file for one in pair}
    kept = np.array([file not in own for file in images.files])
    labels = images.labels[kept]
    shown = [file for file in images.files if file not in own]
    references = references_of(known.embeddings[kept], labels, shown)
    names = [images.names[label] for label in np.unique(labels)]
    return names, references, f"the data's {len(names)} people"


def _of_gallery(
    config: Mapping[str, Any], known: EmbeddedPairs, path: str
) -> tuple[list[str], np.ndarray, str]:
    gallery = galleries.load(
        expanded(path),
        known.model,
        known.provenance,
        aligned=config["verify"]["align"],
    )
    names = list(gallery.names)
    return names, gallery.references, f"{len(names)} people in {path}"


def _embeddings(
    known: EmbeddedPairs, pair: tuple[PairImage, PairImage], batch_size: int
) -> Float[np.ndarray, "2 dimensions"]:
    """Return both images' embeddings, of length 1, float64."""
    images = ImageSet(
        names=("",),
        files=tuple(one.file for one in pair),
        labels=np.zeros(len(pair), np.int32),
        read=lambda place: pair[place].image,
    )
    found = embedder.embedded(known.model, images, batch_size=batch_size)
    return found["embeddings"].astype(np.float64)
