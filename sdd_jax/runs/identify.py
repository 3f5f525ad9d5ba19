"""Mode identify: who in a gallery is this, or nobody?

Every face is embedded and compared with all references, a block at a time. The nearest
is decided for where its cosine reaches the threshold: that of `verify/metrics.json` in
the workdir, which has likelihood ratios as well, or one of the user's own.

Writes `identify/`: `results.json`, `results.csv` and `results.md`.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from sdd_jax import distributed, files, models, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images.decoding import read_file
from sdd_jax.images.sources import listing
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.gallery import require_directions, with_gallery
from sdd_jax.reports import identify_table
from sdd_jax.runs import embedder, faces, galleries, settings, setup, workdir
from sdd_jax.runs.asked_names import names_in, path_of
from sdd_jax.runs.calibrated import load_calibration
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.types import Batch, Calibration, ImageSet
from sdd_jax.verification import calibration as ratios
from sdd_jax.verification import gallery_files
from sdd_jax.verification.gallery_files import Gallery

_GALLERY = "gallery", "a folder that python -m sdd_jax.enroll wrote"
_IMAGES = "images", "files or folders, separated by commas"


class Probes(NamedTuple):
    """Faces to be told, and what was left out."""

    images: ImageSet
    sha256: tuple[str, ...]  # of their files
    skipped: list[dict[str, str]]  # path, reason


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Identify the images asked for; return `results.json`'s content."""
    settings.check(config)
    options = config["identify"]
    sharding.check_batch_size(options["batch_size"], "identify.batch_size")
    for name, what in (_GALLERY, _IMAGES):
        if not options[name].strip():
            raise InputError(
                f"identify.{name} is empty, expected {what}: pass "
                f"--config.identify.{name}=..."
            )
    workdir.check(folder, config, setup.SECTIONS)
    paths = _paths(options["images"])
    model, provenance = embedder.load(config)
    threshold, calibration = options["threshold"], None
    if threshold is None:
        otherwise = "or give a threshold of your own, --config.identify.threshold=0.4"
        calibration = load_calibration(folder, provenance, otherwise=otherwise)
        threshold = calibration.threshold
    place = expanded(options["gallery"])
    gallery = galleries.load(place, model, provenance, aligned=options["align"])
    enrolled = {row["sha256"] for row in gallery_files.load_rows(place)}
    probes = _probes(paths, model.spec.size, options)
    workdir.claim(folder, config, setup.SECTIONS)
    model = models.placed(with_gallery(model, gallery.references, calibration))
    found = ranked(
        model,
        probes.images,
        num_top=options["num_top"],
        batch_size=options["batch_size"],
    )
    require_directions(found["norms"].astype(np.float64), probes.images.files)
    result = {
        "probes": [
            record | {"is_enrolled": sha256 in enrolled}
            for record, sha256 in zip(
                _records(found, probes.images, gallery, threshold, calibration),
                probes.sha256,
                strict=True,
            )
        ],
        "skipped": probes.skipped,
        "protocol": {
            "gallery": options["gallery"],
            "num_people": len(gallery.names),
            "num_images": sum(gallery.num_images),
            "threshold": threshold,
            "threshold_from": "verify/metrics.json" if calibration else "the user",
            "calibration": dataclasses.asdict(calibration) if calibration else None,
            "aligned": options["align"],
            "score": "cosine of an embedding and a reference, the mean of a person's",
            "versions": workdir.versions(),
            **provenance,
        },
    }
    if not distributed.is_first():
        return result
    with files.replaced_folder(folder / "identify") as fresh:
        files.write_json(fresh / "results.json", result)
        for name, text in (
            ("results.md", identify_table.markdown(result)),
            ("results.csv", identify_table.csv(result)),
        ):
            files.write_bytes(fresh / name, text.encode("utf-8", "surrogateescape"))
    screen.console.print(identify_table.summary(result))
    for line in identify_table.in_words(result):
        screen.say(line)
    screen.say(f"written: {folder / 'identify' / 'results.json'}")
    return result


def _paths(wanted: str) -> list[Path]:
    """Return the image files that are asked for, each once."""
    found = []
    for name in names_in(wanted, ()):
        path = path_of(name)
        if path is None or not path.is_dir():
            found.append(path or Path(name))
            continue
        inside = listing.files_in(path)
        if not inside.images:
            raise InputError(
                f"{path} holds no images: expected {listing.none_found(inside)}"
            )
        found += [path / file for file in inside.images]
    return list(dict.fromkeys(found))


def _probes(paths: list[Path], size: int, options: Mapping[str, Any]) -> Probes:
    """Return the faces in files; what has not one is left out and said.

    Raises:
        InputError: none has.
    """
    make = faces.maker(
        size=size,
        align=options["align"],
        largest=options["largest"],
        min_score=options["min_score"],
    )

    def look(path: Path) -> tuple[str, np.ndarray, str] | dict[str, str]:
        try:
            contents = read_file(path)
            sha256 = hashlib.sha256(contents).hexdigest()
            return str(path), make(contents, str(path)), sha256
        except InputError as error:
            return {"path": str(path), "reason": str(error)}

    looked = screen.in_threads(look, paths, "finding faces")
    skipped = [x for x in looked if isinstance(x, dict)]
    found = [x for x in looked if not isinstance(x, dict)]
    if not found:
        raise InputError(
            f"none of the {len(paths)} images has a face to compare; the first: "
            f"{skipped[0]['reason']}"
        )
    names, pixels, sha256 = zip(*found, strict=True)
    labels = np.zeros(len(found), np.int32)
    images = ImageSet(("",), names, labels, lambda i: pixels[i])
    return Probes(images, sha256, skipped)


def ranked(
    model: FaceClassifier, image_set: ImageSet, *, num_top: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Return what each image's nearest references are.

    Args:
        model: with a gallery.
        image_set: faces.
        num_top: how many of the nearest; all where there are fewer.
        batch_size: images a batch, over all devices.

    Returns:
        `classes`, int32, `cosines` and `biases`, float32 [images, num_top], nearest
        first: a bias is what of the cosine lies in no place of the image. And `norms`
        [images], the lengths that the embeddings had.
    """
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, batch: Batch) -> dict[str, Array]:
        model = join_model(graphdef, arrays)
        maps = model.feature_maps(batch.images)
        ranking = model.ranking(maps, num_top=num_top)
        _, biases = model.head.class_maps_and_bias(maps, ranking.classes)
        _, norms = embedder.units_and_norms(model.head.embedding, maps)
        return {
            "classes": ranking.classes,
            "cosines": ranking.logits,
            "biases": biases,
            "norms": norms,
        }

    rows = over_split(one_batch, arrays, image_set, batch_size=batch_size)
    return by_image(rows, len(image_set))


def _records(
    found: Mapping[str, np.ndarray],
    image_set: ImageSet,
    gallery: Gallery,
    threshold: float,
    calibration: Calibration | None,
) -> list[dict[str, Any]]:
    """Return what is said of every probe, as JSON."""
    records = []
    for place, file in enumerate(image_set.files):
        nearest = [
            {
                "name": gallery.names[label],
                "cosine": float(cosine),
                "bias": float(bias),
                "num_images": gallery.num_images[label],
                **_likelihood(float(cosine), calibration),
            }
            for label, cosine, bias in zip(
                *(found[name][place] for name in ("classes", "cosines", "biases")),
                strict=True,
            )
        ]
        first = nearest[0]
        # As the head decides, in float32.
        is_near = np.float32(first["cosine"]) >= np.float32(threshold)
        records.append(
            {
                "file": file,
                "decision": first["name"] if is_near else None,  # nobody
                "threshold": threshold,
                **first,
                "norm": float(found["norms"][place]),
                "nearest": nearest,
            }
        )
    return records


def _likelihood(cosine: float, calibration: Calibration | None) -> dict[str, Any]:
    """Return the ratio's natural logarithm, and whether the bound stopped it."""
    if calibration is None:
        return {}
    limits = ratios.Bounds(calibration.lowest, calibration.highest)
    line = ratios.Logistic(calibration.slope, calibration.offset)
    ratio = float(ratios.log_ratios(line, np.array([cosine]), limits)[0])
    return {
        "log_likelihood_ratio": ratio,
        "is_at_bound": ratio in limits,
        "probability_at_even_odds": 1 / (1 + math.exp(-ratio)),
    }
