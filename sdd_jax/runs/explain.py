"""Mode explain: why the network answers as it does, image by image.

Writes `explain/`, or a folder named after the images that were asked for: a page for
people, `index.html`; the images on it as PNG files; `records.jsonl` and
`explanations.npz` for programs; `skipped.jsonl`, the files that were left out and why;
`manifest.json`, last, with what all of it was made from and each file's hash.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax import checkpoints, distributed, files, screen, sharding
from sdd_jax.faithfulness import FILLS, ORDERS, grid, measured_each
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.study import explained as explained_by
from sdd_jax.faithfulness.study import tested
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier, convolution, inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.reports import overlay, page
from sdd_jax.reports.record import drawn, record
from sdd_jax.runs import chosen_images, explain_folder, settings, setup, workdir
from sdd_jax.runs.method_maps import Method, forward_passes
from sdd_jax.saliency import CHEAP_METHODS, bind_methods
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import Batch, ImageSet

SHOWN = ("black", "mean")  # the fills
COSTLY = 10.0  # forward passes an image: what is above is said

Methods = Mapping[str, Method]


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Explain the chosen images; return the manifest, on process 0."""
    settings.check(config)
    options = config["explain"]
    inference.check_dtype(config["compute_dtype"])
    sharding.check_batch_size(options["batch_size"], "explain.batch_size")
    methods = bind_methods(options["methods"], config["saliency"])
    output = explain_folder.chosen(options, folder)
    checkpoints.latest_step(folder)  # raises where nothing was trained
    workdir.check(folder, config, setup.SECTIONS)
    splits = setup.load_splits(config, folder)
    model, provenance = setup.load_model(
        folder, splits["train"].names, config["compute_dtype"]
    )
    workdir.claim(folder, config, setup.SECTIONS)
    image_set, skipped = chosen_images.chosen(options, splits, config["data"])
    screen.say(f"images to explain: {len(image_set)}")
    _say_what_is_costly(model, methods, options["batch_size"])
    explained = _explain(options, model, methods, image_set)
    for name in ("confidence", "masked_confidence"):
        values = np.stack([one[name] for one in explained], axis=-1)
        setup.require_finite(values, image_set.files, folder)
    if not distributed.is_first():
        return {}
    with files.replaced_folder(output) as fresh:
        records = [
            record(
                one,
                file=image_set.files[one["index"]],
                names=image_set.names,
                fraction=options["fraction"],
                fills=SHOWN,
                schemes=ORDERS,
            )
            | {"files": _write_images(fresh, one)}
            for one in explained
        ]
        files.write_rows(fresh / "records.jsonl", records)
        files.write_rows(fresh / "skipped.jsonl", skipped)
        arrays = _arrays(explained, image_set)
        files.write_arrays(fresh / "explanations.npz", arrays)
        html = _page(fresh, records, splits["train"], options, provenance)
        files.write_bytes(fresh / "index.html", html.encode())
        manifest = {
            "num_images": len(records),
            **provenance,
            "config": config,
            "versions": workdir.versions(),
            "files": _hashes(fresh),
        }
        files.write_json(fresh / "manifest.json", manifest)
    if skipped:
        listed = output / "skipped.jsonl"
        named = screen.first_of([row["path"] for row in skipped])
        screen.say(f"files left out: {len(skipped)} ({named}), see {listed}")
    screen.say(f"images explained: {len(records)}, {output / 'index.html'}")
    return manifest


def _say_what_is_costly(model: FaceClassifier, methods: Methods, size: int) -> None:
    """Say how often a method asks the network, where it is often."""
    for name, method in methods.items():
        if name in CHEAP_METHODS:
            continue  # to count takes seconds
        stages = name in USES_STAGES
        passes = forward_passes(model, method, size, stages=stages)
        if passes > COSTLY:
            screen.say(
                f"{name} asks the network {passes:.0f} times an image: with "
                f"explain.methods this goes faster without it"
            )


def _explain(
    options: Mapping[str, Any],
    model: FaceClassifier,
    methods: Methods,
    image_set: ImageSet,
) -> list[dict[str, Any]]:
    """Return every image's explanation, in the form `reports.record` takes."""
    graphdef, arrays = split_model(model)
    wanted = grid(SHOWN, (options["fraction"],))
    first = next(iter(methods))

    @functools.partial(jax.jit, compiler_options=convolution.compiler_options())
    def program(arrays: Any, batch: Batch) -> dict[str, Any]:
        model = join_model(graphdef, arrays)
        how = dict(wanted=wanted, seed=options["seed"])
        out = explained_by(model, batch, methods=methods, **how)
        ranked = out["ranks"][first]
        images, places = batch.images, batch.indices
        perturbed = tested(model, images, places, out["intact"], ranked[None], **how)
        maps = {name: each.saliency for name, each in out["explanations"].items()}
        flat = {name: is_flat(each) for name, each in maps.items()}
        return out | {"ranks": ranked, "perturbed": perturbed, "is_flat": flat}

    explained = []
    share = sharding.share(options["batch_size"])
    for own in pipeline.eval_batches(image_set, **share):
        on_devices = sharding.shard_batch(own)
        out = program(arrays, on_devices)
        batch, out = sharding.to_host((on_devices, out))
        under_masks = jax.tree.map(lambda row: row[0], out["perturbed"])
        masked = {
            "masked_confidence": under_masks.confidence,
            "masked_prediction": under_masks.decision,
        }
        for name in ("confidence_drop", "prediction_change"):
            masked[name] = measured_each(name, out["intact"], under_masks, wanted)
        shape = (len(SHOWN), len(ORDERS), -1)
        masked = {name: row.reshape(shape) for name, row in masked.items()}
        for place in np.flatnonzero(batch.valid):
            explained.append(_one_of(batch, out, masked, int(place), tuple(methods)))
    return explained


def _one_of(
    batch: Batch,
    out: Mapping[str, Any],
    masked: Mapping[str, Any],
    place: int,
    methods: tuple[str, ...],
) -> dict[str, Any]:
    """Return one image's part of a batch; what JAX returns has lost the order."""
    explanations = out["explanations"]
    own = {
        "index": int(batch.indices[place]),
        "label": int(batch.labels[place]),
        "image": batch.images[place],
        "prediction": int(out["intact"].decision[place]),
        "confidence": float(out["intact"].confidence[place]),
        "maps": {name: explanations[name].saliency[place] for name in methods},
        "is_flat": {name: bool(out["is_flat"][name][place]) for name in methods},
        "salient": out["ranks"][place] == 0,
        **{name: row[..., place] for name, row in masked.items()},
    }
    if "sdd" in methods:
        details = explanations["sdd"].details
        own |= {
            "rivals": details["rivals"][place],
            "rival_probabilities": details["rival_probabilities"][place],
            "scale": float(details["scale"][place]),
            "amplification": float(details["amplification"][place]),
        }
    return own


def _write_images(folder: Path, one: Mapping[str, Any]) -> dict[str, str]:
    """Write an image's PNG files and return their names."""
    image = jnp.asarray(one["image"])[None]
    nothing = jnp.zeros(image.shape[:3], bool)
    key = jax.random.key(0)[None]  # these fills draw nothing
    filled = {fill: np.asarray(FILLS[fill](image, nothing, key))[0] for fill in SHOWN}
    names = {}
    for key, shown in drawn(one, filled).items():
        names[key] = f"{one['index']:04d}_{key}.png"
        files.write_bytes(folder / names[key], overlay.png(shown))
    return names


def _arrays(
    explained: list[dict[str, Any]], image_set: ImageSet
) -> dict[str, np.ndarray]:
    """Return what the images were drawn from, one row an image."""
    rows = {
        name: np.stack([one[name] for one in explained])
        for name in explained[0]
        if name not in ("maps", "is_flat")
    }
    for name in explained[0]["maps"]:
        rows[name] = np.stack([one["maps"][name] for one in explained])
        rows[f"{name}_is_flat"] = np.array([one["is_flat"][name] for one in explained])
    return rows | {
        "files": np.array(image_set.files),
        "names": np.array(image_set.names),
        "fills": np.array(SHOWN),
        "schemes": np.array(ORDERS),
    }


def _page(
    folder: Path,
    records: list[dict[str, Any]],
    known: ImageSet,
    options: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Return the page, which shows each rival's first training image."""
    labels = known.labels.tolist()
    shown = {rival["name"] for line in records for rival in line["rivals"]}
    portraits = {
        name: overlay.png(known.read(labels.index(known.names.index(name))))
        for name in sorted(shown)
    }
    with_images = [
        line
        | {
            "images": {
                key: (folder / file).read_bytes() for key, file in line["files"].items()
            },
            "rival_images": {
                rival["name"]: portraits[rival["name"]] for rival in line["rivals"]
            },
        }
        for line in records
    ]
    summary = {
        "num_identities": len(known.names),
        "methods": list(options["methods"]),
        "fraction": options["fraction"],
        **provenance,
        "versions": workdir.versions(),
    }
    return page.render("Why the network answered so", with_images, summary)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
