"""Galleries and the network at hand: what was enrolled with it, or with its equal."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdd_jax.images.alignment import similarity
from sdd_jax.models import FaceClassifier
from sdd_jax.verification import gallery_files
from sdd_jax.verification.gallery_files import Gallery


def made_with(
    model: FaceClassifier, provenance: Mapping[str, Any], *, aligned: bool
) -> dict[str, Any]:
    """Return what embeddings depend on, in the sections of a gallery's manifest.

    Args:
        model: what embeds.
        provenance: from `embedder.load`.
        aligned: whether faces are found and aligned here; else images come as they are.
    """
    names = ("checkpoint", "checkpoint_sha256", "compute_dtype")
    template = similarity.template(model.spec.size).round(4).tolist()
    return {
        "network": {name: provenance[name] for name in names},
        "input": dataclasses.asdict(model.spec),
        "alignment": {
            "aligned": aligned,
            "detector": "mtcnn" if aligned else None,
            "template": template if aligned else None,  # five points, in pixels
        },
    }


def load(
    folder: Path,
    model: FaceClassifier,
    provenance: Mapping[str, Any],
    *,
    aligned: bool,
) -> Gallery:
    """Return a stored gallery that this network's embeddings may be compared with.

    Raises:
        InputError: there is none, it is damaged, or of another network, colour order or
            alignment.
    """
    gallery = gallery_files.load(folder)
    given = made_with(model, provenance, aligned=aligned)
    gallery_files.require_same(folder, gallery.made_with, given)
    return gallery
