"""What every mode starts from: the images, and the model that answers for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import weights_conversion
from sdd_jax import (
    checkpoints,
    distributed,
    files,
    images,
    models,
    screen,
    sharding,
)
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images.sources import facescrub
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.runs import chosen_images, workdir
from sdd_jax.types import ImageSet
from weights_conversion import adaface, sface

SECTIONS = ("seed", "data", "model")  # must be what a checkpoint was made with


def image_size(config: Mapping[str, Any]) -> int:
    """Return the size of the images the config's network takes."""
    return models.input_spec(config["model"]).size


def require_files(config: Mapping[str, Any]) -> None:
    """Raise one error that names all of the user's own files that are not there."""
    root = config["data"].get("root")
    weights = config["model"]["pretrained"]
    if root and expanded(root).is_file():
        raise InputError(
            f"data.root is {root}, a file; expected the folder that the images are in"
        )
    missing = []
    if root and not expanded(root).is_dir():
        missing.append(f"images in {root} (data.root): {_how_to_get_images(config)}")
    if weights and not weights_conversion.exists(weights):
        missing.append(
            f"weights in {weights} (model.pretrained): {_how_to_get_weights(config)}"
        )
    if missing:
        raise InputError(
            f"this config needs files of your own, and there are no "
            f"{'; and no '.join(missing)}; configs/orl.py runs without any"
        )


def _how_to_get_images(config: Mapping[str, Any]) -> str:
    root = config["data"]["root"]
    if config["data"]["source"] == "facescrub":
        return (
            f"get FaceScrub at {facescrub.WHERE}, then python -m sdd_jax.images.align "
            f"YOUR_COPY {root}"
        )
    if config["data"]["source"] == "prepared":
        return f"make them with python -m sdd_jax.images.prepare YOUR_IMAGES {root}"
    return f"put them into {root}/<identity>/<file>"


def _how_to_get_weights(config: Mapping[str, Any]) -> str:
    weights = config["model"]["pretrained"]
    if config["model"]["backbone"]["name"] == "ir_resnet":
        return (
            f"get AdaFace's at {adaface.WHERE}, then python -m "
            f"weights_conversion FILE {weights}, or train with --workdir={weights}"
        )
    if config["model"]["backbone"]["name"] == "sface":
        return f"get SFace's at {sface.WHERE}"
    return "correct the path, or leave it empty for a random start"


def load_splits(
    config: Mapping[str, Any], folder: Path | None = None
) -> dict[str, ImageSet]:
    """Return the config's images: train, validation and test.

    Args:
        config: plain dict; its seed and data decide.
        folder: the workdir, where a split of the user's own files is kept.
    """
    arguments = source_arguments(config, folder)
    source = images.SOURCES[config["data"]["source"]]
    splits = distributed.first_then_all("the split", lambda: source(**arguments))
    distributed.require_same(
        "the split",
        lambda: {
            f"the {name} split (its SHA-256)": files.json_sha256(
                [split.names, split.files, split.labels.tolist()]
            )
            for name, split in splits.items()
        },
    )
    return splits


def source_arguments(
    config: Mapping[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """Return what the config's source of images is called with; see `load_splits`.

    Raises:
        InputError: there is no such source, or it does not take an option.
    """
    options = dict(config["data"])
    source = options.pop("source")
    options.pop("groups", None)  # of verify, whatever the source
    if source not in images.SOURCES:
        raise InputError(
            f"unknown data.source {source!r}: expected one of "
            f"{', '.join(images.SOURCES)}"
        )
    known = images.options_of(config["data"])
    for name in options:
        if name not in known:
            raise InputError(
                f"data.{name} is no setting of data.source={source}: expected some of "
                f"{', '.join(sorted(known))}"
            )
    own = {"image_size": image_size(config), "seed": config["seed"], "record": folder}
    return own | options


def check_names(
    description: Mapping[str, Any], names: Sequence[str], folder: Path
) -> None:
    """Raise InputError where a checkpoint knows other identities than the data have."""
    if "names" not in description:
        raise InputError(
            f"{folder} holds converted weights, which know no identities: train first, "
            f"in another --workdir, with --config.model.pretrained={folder}"
        )
    known = description["names"]
    if list(known) != list(names):
        different = sorted(set(known).symmetric_difference(names))[:5]
        raise InputError(
            f"the checkpoint in {folder} knows {len(known)} identities, but the data "
            f"have {len(names)} (for example {', '.join(different) or 'another order'} "
            f"differ): use the data it was trained on, or train in another --workdir"
        )


def require_methods(
    section: str, options: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Raise InputError where a setting names no method of its section."""
    for name in names:
        if options[name] not in options["methods"]:
            raise InputError(
                f"{section}.{name} is {options[name]!r}: expected one of "
                f"{section}.methods, {', '.join(options['methods'])}"
            )


def require_finite(confidence: Any, files: Sequence[str], folder: Path) -> None:
    """Raise InputError where the network's answer for an image is no number.

    Args:
        confidence: float, [..., images].
        files: what a person calls each image.
        folder: the workdir.
    """
    bad = ~np.isfinite(np.asarray(confidence, np.float32))
    bad = bad.reshape(-1, bad.shape[-1]).any(0)
    if bad.any():
        raise InputError(
            f"the network's answer is NaN for {bad.sum()} of {len(files)} images (the "
            f"first: {files[int(bad.argmax())]}): its activations overflow; use "
            f"--config.compute_dtype=float32, or train or convert {folder} again"
        )


def open_split(
    config: Mapping[str, Any], folder: Path, section: str
) -> tuple[ImageSet, FaceClassifier, dict[str, Any]]:
    """Return the split that a mode measures on, the workdir's model, its provenance.

    As `open_splits`, for modes that look at no other split.
    """
    splits, model, provenance = open_splits(config, folder, section)
    return splits[config[section]["split"]], model, provenance


def open_splits(
    config: Mapping[str, Any], folder: Path, section: str
) -> tuple[dict[str, ImageSet], FaceClassifier, dict[str, Any]]:
    """Return all splits, the workdir's model, and its provenance.

    Args:
        config: plain dict.
        folder: the workdir, where training left its checkpoints.
        section: the mode's own, with `split` and `batch_size`.

    Raises:
        InputError: nothing was trained, or on other data, or there is no such split.
    """
    options = config[section]
    inference.check_dtype(config["compute_dtype"])
    sharding.check_batch_size(options["batch_size"], f"{section}.batch_size")
    checkpoints.latest_step(folder)  # raises where nothing was trained
    workdir.check(folder, config, SECTIONS)
    splits = load_splits(config, folder)
    name = f"{section}.split"
    image_set = chosen_images.named_split(splits, options["split"], name)
    model, provenance = load_model(folder, image_set.names, config["compute_dtype"])
    workdir.claim(folder, config, SECTIONS)
    return splits, model, provenance


def load_model(
    folder: Path, names: tuple[str, ...], compute_dtype: str | None
) -> tuple[FaceClassifier, dict[str, Any]]:
    """Return the workdir's best model, folded, and what a result must say about it.

    Args:
        folder: the workdir, where training left its checkpoints.
        names: the data's identities, which must be the model's own.
        compute_dtype: float32 or bfloat16; as the network was trained where None.

    Raises:
        InputError: there is no checkpoint, or it knows other identities.
    """
    step = checkpoints.best_step(folder)
    check_names(checkpoints.description(folder, step), names, folder)
    model = models.load(folder, step=step)
    last, planned = checkpoints.latest_step(folder), workdir.planned_steps(folder)
    if last < planned:
        screen.say(f"step {last} of {planned}: training is not finished")
    return inference.folded(model, dtype=compute_dtype), {
        "compute_dtype": compute_dtype or "as trained",
        "checkpoint": str(checkpoints.path(folder, step)),
        "checkpoint_sha256": checkpoints.sha256(models.variables(model)),
        "step": step,
    }
