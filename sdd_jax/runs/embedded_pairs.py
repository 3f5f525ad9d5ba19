"""The data's images, embedded, and the pairs of them that are compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sdd_jax import screen, sharding
from sdd_jax.files import expanded
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier
from sdd_jax.runs import embedder, setup, workdir
from sdd_jax.runs.verify_images import listed_pairs, load_images
from sdd_jax.types import ImageSet
from sdd_jax.verification import rates
from sdd_jax.verification.pairs import Pairs, all_pairs, cosines, listed


class EmbeddedPairs(NamedTuple):
    """What verification is measured on."""

    model: FaceClassifier
    provenance: dict[str, Any]  # what a result says about the model
    images: ImageSet  # in memory
    embeddings: Float[np.ndarray, "images dimensions"]  # float32, of length 1
    norms: Float[np.ndarray, " images"]  # float32, the lengths they had
    pairs: Pairs
    scores: Float[np.ndarray, " pairs"]  # float64, cosines
    num_skipped: int  # pairs with an image that is not there


def embedded_pairs(config: Mapping[str, Any], folder: Path) -> EmbeddedPairs:
    """Return the pairs of the config's data, and their cosines.

    Embeddings are kept in the workdir's `results/`: the same ones are computed once.

    Raises:
        InputError: the network or the data are not there, or do not fit.
    """
    options = config["verify"]
    sharding.check_batch_size(options["batch_size"], "verify.batch_size")
    setup.require_files(config)
    workdir.check(folder, config, setup.SECTIONS)
    model, provenance = embedder.load(config)
    images = load_images(config, folder)
    images, pairs, num_skipped = _pairs(images, options)
    num_impostors = int((~pairs.is_same).sum())
    rates.require_supported(options["far"], num_impostors, "verify.far")
    workdir.claim(folder, config, setup.SECTIONS)
    cached = pipeline.cached(images)
    screen.say(f"{len(cached)} images of {len(np.unique(cached.labels))} people")
    size = options["batch_size"]
    found = embedder.kept(model, cached, folder, provenance, batch_size=size)
    scores = cosines(found["embeddings"], pairs)
    return EmbeddedPairs(
        model,
        provenance,
        cached,
        found["embeddings"],
        found["norms"],
        pairs,
        scores,
        num_skipped,
    )


def _pairs(images: ImageSet, options: Mapping[str, Any]) -> tuple[ImageSet, Pairs, int]:
    """Return the images that are compared, their pairs, and how many were skipped."""
    if not options["pairs"]:
        names = images.names
        return images, all_pairs(images.labels, names, seed=options["seed"]), 0
    found = listed_pairs(images, expanded(options["pairs"]))
    labels = found.images.labels
    pairs = listed(found.first, found.second, labels, found.folds)
    return found.images, pairs, found.num_skipped
