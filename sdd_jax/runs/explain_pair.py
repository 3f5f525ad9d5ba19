"""Mode explain_pair: why does the network find two photographs alike, or not?

    python main.py --config=configs/verify.py --mode=explain_pair PROBE REFERENCE

Either is a photograph, or the name of an image in the data. What the score means is
measured on the data's other people: threshold and likelihood ratio are of pairs with
nobody of this pair, as far as the data know who they are.

Writes `explain_pair/`: `record.json`, a report for people, `index.html`, the images on
it as PNG files, and `maps.npz`.
"""

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdd_jax import distributed, files, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.images import quality
from sdd_jax.images.alignment import face_parts
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.pair_saliency import METHODS, distance_grid, pair_pass, similarity_grid
from sdd_jax.reports import overlay, pair_page, pair_plot
from sdd_jax.runs import neighbours, settings, workdir
from sdd_jax.runs.embedded_pairs import EmbeddedPairs, embedded_pairs
from sdd_jax.runs.pair_images import (
    PairImage,
    known_landmarks,
    measured,
    of_data,
    of_file,
)
from sdd_jax.types import Calibration
from sdd_jax.verification import likelihood
from sdd_jax.verification.calibration import cllr
from sdd_jax.verification.held_out import held_out
from sdd_jax.verification.measured import calibrated
from sdd_jax.verification.pairs import Pairs

FOLDER = "explain_pair"
PROPOSITIONS = ["the images show one person", "the images show two different people"]
SIDES = ("probe", "reference")
MAPS = (
    "similarity",
    "fine_similarity",
    "distance",
    "fine_distance",
    "pair_sdd",
    "occlusion_of_both",
)


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Explain the pair; return `record.json`'s content."""
    settings.check(config)
    options = config["explain_pair"]
    _require_named(options)
    # First, so that nobody waits for what is then refused.
    filed = {side: of_file(options[side], config) for side in SIDES}
    known = embedded_pairs(config, folder)
    landmarks = known_landmarks(config, folder)
    pair = _images(options, filed, known, landmarks)
    labels = {one.label for one in pair}
    kept = likelihood.without(known.pairs, labels)
    others, scores = likelihood.chosen(known.pairs, kept), known.scores[kept]
    _require_others(others.is_same, pair)
    calibration = calibrated(scores, others, far=config["verify"]["far"])
    around = neighbours.around(config, known, pair)
    out = _explained(
        known.model,
        (pair[0].image, pair[1].image),
        around.rivals_of(calibration.threshold, options["num_rivals"]),
        seed=options["seed"],
    )
    cosine = float(out["cosine"])
    ratio = likelihood.likelihood_ratio(
        cosine,
        scores,
        others,
        calibration,
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    )
    usual = quality.ranges(_known_measures(known, landmarks))
    record = {
        "cosine": cosine,
        "map_sum": float(out["similarity"].sum()),
        "bias": float(out["similarity_bias"]),
        "distance_sum": float(out["distance"].sum()),
        "distance_bias": float(out["distance_bias"]),
        "threshold": calibration.threshold,
        "decision": ("at or above" if cosine >= calibration.threshold else "below")
        + " the threshold",
        "propositions": PROPOSITIONS,
        "may_be_one_photograph": cosine > float(scores[others.is_same].max()),
        "likelihood_ratio": ratio._asdict(),
        "parts": _parts(known.model, out),
        "neighbours": around.nearest[: options["num_rivals"]],
        "rank_of_reference": around.rank,
        "images": {
            side: _told(one, float(out["norms"][place]), usual)
            for place, (side, one) in enumerate(zip(SIDES, pair, strict=True))
        },
        "usual": usual,
        "calibration": _told_calibration(config, calibration, known, kept)
        | _errors(scores, others, config["verify"]["far"]),
        "protocol": {
            **known.provenance,
            "gallery": around.source,
            "seed": options["seed"],
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "config": {name: config[name] for name in ("data", "model")},
            "versions": workdir.versions(),
            "code": workdir.code_sha256(),
        },
    }
    for name, of_one in (("insufficient", "unusual"), ("outside", "outside")):
        found = {x for one in record["images"].values() for x in one[of_one]}
        record[name] = sorted(found)
    if not distributed.is_first():
        return record
    _write(folder / FOLDER, record, pair, out, scores, others.is_same)
    _say(record, folder)
    return record


def _require_named(options: Mapping[str, Any]) -> None:
    if not (options["probe"] and options["reference"]):
        raise InputError(
            f"two images are wanted, got {options['probe'] or 'none'!r} and "
            f"{options['reference'] or 'none'!r}: "
            f"--mode=explain_pair PROBE REFERENCE, photographs or names of images"
        )


def _images(
    options: Mapping[str, Any],
    filed: Mapping[str, PairImage | None],
    known: EmbeddedPairs,
    landmarks: Mapping[str, np.ndarray],
) -> tuple[PairImage, PairImage]:
    """Return both images; what is a name in the data is theirs, with its person."""
    found = []
    for side in SIDES:
        name = options[side]
        one = of_data(name, known.images, landmarks) or filed[side]
        if one is None:
            raise InputError(
                f"{name} is neither a file nor in the data: expected a photograph, or "
                f"the name of an image such as {known.images.files[0]}"
            )
        found.append(one)
    probe, reference = found
    if probe.sha256 == reference.sha256 or np.array_equal(probe.image, reference.image):
        raise InputError(
            f"{probe.file} and {reference.file} are the same image, which is like "
            f"itself: expected two images"
        )
    return probe, reference


def _require_others(is_same: np.ndarray, pair: tuple[PairImage, PairImage]) -> None:
    if not (is_same.any() and not is_same.all()):
        raise InputError(
            f"without the people of {pair[0].file} and {pair[1].file} the data have "
            f"{is_same.sum()} genuine and {(~is_same).sum()} impostor pairs, expected "
            f"some of both: what a score means is measured on other people; add people"
        )


def _explained(
    model: FaceClassifier,
    images: tuple[np.ndarray, np.ndarray],
    rivals: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
) -> dict[str, Any]:
    """Return the cosine, both exact grids with their bias, and both sides' maps."""
    graphdef, arrays = split_model(model)
    # A network divides its images among the devices: each gets the pair, and all come
    # to the same.
    count = sharding.num_devices()
    keys = jnp.broadcast_to(jax.random.key(seed), count)

    @jax.jit
    def program(
        arrays: Any, probe: Array, reference: Array, rivals: tuple[Array, Array]
    ) -> dict[str, Any]:
        model = join_model(graphdef, arrays)
        pair = pair_pass(model, probe, reference)
        similar, bias = similarity_grid(pair)
        different, left_over = distance_grid(pair)
        maps = {}
        for side, one, others in zip(
            SIDES, (pair, pair.swapped()), rivals, strict=True
        ):
            for name in MAPS:
                more = {"rivals": others} if name == "pair_sdd" else {}
                explained = METHODS[name](model, one, keys, **more)
                maps[f"{side}_{name}"] = explained.saliency
        return {
            "cosine": pair.cosine,
            "norms": jnp.stack([pair.probe.norms, pair.reference.norms], 1),
            "similarity": similar,
            "similarity_bias": bias,
            "distance": different,
            "distance_bias": left_over,
            "maps": maps,
        }

    pairs = jax.tree.map(lambda x: np.stack([x] * count), (*images, rivals))
    out = program(arrays, *pairs)
    return jax.tree.map(lambda values: values[0], sharding.to_host(out))


def _parts(
    model: FaceClassifier, out: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return what each part of the face adds to the cosine, and to 1 - cosine."""
    place = dict(
        offset=model.cells.offset, stride=model.cells.stride, size=model.spec.size
    )
    alike, different = (
        face_parts.sums(out[name], **place) for name in ("similarity", "distance")
    )
    return {
        part: {"similarity": alike[part], "distance": different[part]}
        for part in face_parts.PARTS
    }


def _known_measures(
    known: EmbeddedPairs, landmarks: Mapping[str, np.ndarray]
) -> list[dict[str, float | None]]:
    return [
        measured(known.images.read(place), landmarks.get(file))
        | {"norm": float(known.norms[place])}
        for place, file in enumerate(known.images.files)
    ]


def _told(
    one: PairImage, norm: float, usual: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    measures = one.measures | {"norm": norm}
    return {
        "file": one.file,
        "sha256": one.sha256,
        "sha256_of": one.sha256_of,
        "num_faces": one.num_faces,
        "measures": measures,
        "unusual": quality.unusual(measures, usual),
        "outside": quality.outside(measures, usual),
    }


def _told_calibration(
    config: Mapping[str, Any],
    calibration: Calibration,
    known: EmbeddedPairs,
    kept: np.ndarray,
) -> dict[str, Any]:
    own = np.unique(known.pairs.people[kept])
    return {
        "source": config["data"]["source"],
        "num_people": len(own),
        "num_images": int(np.isin(known.images.labels, own).sum()),
        "num_genuine": int((kept & known.pairs.is_same).sum()),
        "num_impostor": int((kept & ~known.pairs.is_same).sum()),
        "far": config["verify"]["far"],
        "slope": calibration.slope,
        "offset": calibration.offset,
    }


def _errors(scores: np.ndarray, others: Pairs, far: float) -> dict[str, float | None]:
    """Return what the calibration is worth on people it was not made with.

    None where there are too few people for that.
    """
    try:
        judged, is_same = held_out(scores, others, far=far), others.is_same
    except InputError:
        return dict.fromkeys(("cllr", "fmr", "fnmr"))
    return {
        "cllr": cllr(judged.logistic, is_same),
        "fmr": 100 * float(judged.is_accepted[~is_same].mean()),
        "fnmr": 100 * float((~judged.is_accepted[is_same]).mean()),
    }


def _write(
    output: Path,
    record: Mapping[str, Any],
    pair: tuple[PairImage, PairImage],
    out: Mapping[str, Any],
    scores: np.ndarray,
    is_same: np.ndarray,
) -> None:
    """Write the report, whole or not at all; another pair's report is kept."""
    _keep_another(output, record)
    shown = {side: one.image for side, one in zip(SIDES, pair, strict=True)}
    for name, saliency in out["maps"].items():
        side = name.partition("_")[0]
        shown[name] = overlay.overlay(shown[side], saliency)
    images = {name: overlay.png(image) for name, image in shown.items()}
    images["scores"] = pair_plot.plot(scores, is_same, record)
    page = pair_page.render(record, images)
    with files.replaced_folder(output) as fresh:
        for name, content in images.items():
            files.write_bytes(fresh / f"{name}.png", content)
        grids = {name: out[name] for name in ("similarity", "distance")}
        files.write_arrays(fresh / "maps.npz", grids | out["maps"])
        files.write_bytes(fresh / "index.html", page.encode())
        files.write_json(fresh / "record.json", record)


def _keep_another(output: Path, record: Mapping[str, Any]) -> None:
    """Rename the report of another pair: nobody asked for it to be lost."""
    path = output / "record.json"
    if not path.is_file():
        return
    try:
        before = _pair_of(files.parsed(files.read_text(path)))
    except (ValueError, LookupError, TypeError):  # damaged: nobody knows whose it is
        before = [hashlib.sha256(path.read_bytes()).hexdigest()]
    if before != _pair_of(record):
        digest = hashlib.sha256("".join(before).encode()).hexdigest()
        kept = output.with_name(f"{output.name}_{digest[:8]}")
        if not kept.exists():
            output.rename(kept)
            screen.say(f"the report that was in {output} is now in {kept}")


def _pair_of(record: Mapping[str, Any]) -> list[str]:
    return [str(record["images"][side]["sha256"]) for side in SIDES]


def _say(record: Mapping[str, Any], folder: Path) -> None:
    sides = " and ".join(record["images"][side]["file"] for side in SIDES)
    screen.say(
        f"{sides}: cosine {record['cosine']:.4f}, {record['decision']} (threshold "
        f"{record['threshold']:.4f} at FAR {record['calibration']['far']:g})"
    )
    for line in pair_page.statement(record):
        screen.say(line)
    screen.say(f"written: {folder / FOLDER / 'index.html'}")
