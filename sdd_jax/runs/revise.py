"""Mode revise: what does a network lean on, and can it be made to look elsewhere?

The first command finds the regions that the network's answers hang on, in clusters, and
writes `revise/index.html` and `forbid.txt`. Whoever looks at the page names, in that
file, the clusters that the network must not use. The same command then trains the
network on, in `revised/`, with those regions as `train.guidance.masks`, and a control
as long with nothing forbidden; all three are measured on the test images and shown on
the page.
Parts that are finished are not done again.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from sdd_jax import checkpoints, distributed, files, models, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import comparison
from sdd_jax.faithfulness.comparison import ALL, Measured
from sdd_jax.images import pipeline
from sdd_jax.images.sources import shortcut
from sdd_jax.models import FaceClassifier
from sdd_jax.reports import overlay, revise_page, revise_table
from sdd_jax.runs import (
    forbidden,
    protocol,
    reliance,
    relied_regions,
    settings,
    setup,
    store,
    train,
    workdir,
)
from sdd_jax.runs.relied_regions import Clusters, Rows
from sdd_jax.saliency import bind_methods
from sdd_jax.training import guidance, margins, resume
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.training.step import init_state
from sdd_jax.types import ImageSet


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Find, and where something is forbidden revise; return `table.json`'s content."""
    settings.check(config)
    options = config["revise"]
    _check_term(options)
    (method,) = bind_methods((options["method"],), config["saliency"]).values()
    # What goes on is the same training, with one term more.
    workdir.check(folder, config, train.SECTIONS)
    splits, model, provenance = setup.open_splits(config, folder, "revise")
    train_set, test = splits["train"], splits[options["split"]]
    splits = {"train": pipeline.cached(train_set), "test": pipeline.cached(test)}
    results = workdir.results(folder, provenance)
    asked = {name: options[name] for name in ("method", "fraction", "seed")}
    key = asked | {"saliency": config["saliency"].get(options["method"])}

    def regions(name: str, of: FaceClassifier, masks: Any, facts: Any) -> Rows:
        def compute() -> Rows:
            return relied_regions.regions(
                of,
                splits[name],
                method,
                fraction=options["fraction"],
                seed=options["seed"],
                batch_size=options["batch_size"],
                masks=masks,
            )

        devices = [sharding.num_devices(), sharding.platform()]
        whole = key | {"revise": name, "facts": facts, "devices": devices}
        return store.kept(results, whole, compute)

    facts = workdir.facts(provenance)
    before = {name: regions(name, model, None, facts) for name in splits}
    clusters = relied_regions.clustered(before["train"], options["num_clusters"])
    chosen = forbidden.numbers(folder, len(clusters.centres))
    found_by = key | {"num_clusters": options["num_clusters"]}
    found_by |= {"checkpoint": provenance["checkpoint_sha256"]}
    if chosen:
        forbidden.check_page(folder, found_by)
    result: dict[str, Any] = {
        "clusters": _described(clusters, before["train"], splits["train"], chosen),
        "forbidden": chosen,
        "num_without_region": int((clusters.numbers == 0).sum()),
        "found_by": found_by,
        "protocol": _protocol(config) | provenance,
    }
    if chosen:
        made_of = found_by | {x: options[x] for x in ("term", "weight", "steps")}
        made_of |= {"not": chosen}
        place = folder / "revised" / files.json_sha256(made_of)[:12]
        is_forbidden = np.isin(clusters.numbers, chosen)
        masks = before["train"]["masks"] & is_forbidden[:, None, None]
        masks = forbidden.with_own(config, masks, train_set)
        forbidden.write_masks(place / "masks", masks, train_set)
        distributed.barrier("the masks")
        networks = {"before": model}
        rows = {"before": before["test"]}
        for name, weight in (("control", 0.0), ("after", options["weight"])):
            there = place / name
            _train_on(
                _revised_config(config, place / "masks", weight),
                *(there, folder, provenance["step"]),
            )
            networks[name], known = setup.load_model(
                there, test.names, config["compute_dtype"]
            )
            facts = workdir.facts(known)
            seen = before["test"]["masks"]
            rows[name] = regions("test", networks[name], seen, facts)
        numbers = clusters.nearest(before["test"])
        result |= _compared(config, rows, test, numbers, chosen)
        result["revised"] = str(place / "after")
        if config["data"]["source"] == "shortcut":
            result["marks"] = _marks(config, folder, networks)
    store.keep_only(results)
    if distributed.is_first():
        _write(folder, result, before["train"], splits["train"], options)
        screen.console.print(revise_table.clusters(result))
        if chosen:
            screen.console.print(revise_table.before_and_after(result))
        else:
            if (folder / "revised").exists():
                screen.say(f"{folder / 'revised'} stays; the page shows none of it")
            screen.say(
                f"nothing is forbidden yet: look at {folder / 'revise' / 'index.html'}"
                f", write the numbers into {folder / forbidden.FORBID}, and give the "
                f"same command"
            )
        screen.say(f"written: {folder / 'revise' / 'index.html'}")
    return result


def _check_term(options: Mapping[str, Any]) -> None:
    """Raise InputError where the term is none for a revision."""
    if options["term"] not in guidance.NEED_REGIONS:
        is_term = options["term"] in guidance.WEIGHTS
        why = "looks at no region" if is_term else "is no term"
        raise InputError(
            f"revise.term is {options['term']!r}, which {why}: expected one of "
            f"{', '.join(guidance.NEED_REGIONS)}"
        )


def _revised_config(
    config: Mapping[str, Any], masks: Path, weight: float
) -> dict[str, Any]:
    """Return the config of the training that goes on; the control's weight is 0."""
    revised, options = copy.deepcopy(dict(config)), config["revise"]
    if weight:
        revised["train"]["guidance"] |= {
            "masks": str(masks),
            "parts": (),
            "inside": False,
            options["term"]: weight,
        }
    revised["train"]["steps"] = options["steps"]
    revised["train"]["validate_every"] = options["steps"]
    return revised


def _train_on(
    config: Mapping[str, Any], place: Path, start: Path, start_step: int
) -> None:
    """Train the network of another folder on, as a run of its own.

    Its first checkpoint is that network, with an optimiser that knows nothing yet.
    """
    if not distributed.from_first("the start", lambda: checkpoints.exists(place)):
        options = config["train"]
        graphdef, state = init_state(
            models.load(start, step=start_step),
            make_optimizer(options),
            options["parts"],
            margins.named(options),
            guidance.named(options),
        )
        known = checkpoints.description(start, start_step) | {"validation": {}}
        trees = resume.trees(graphdef, state)
        checkpoints.save(place, 0, trees, known, float("nan"))
    train.run(config, place)


def _described(
    clusters: Clusters, rows: Rows, image_set: ImageSet, chosen: Sequence[int]
) -> list[dict[str, Any]]:
    """Return each cluster in figures, the strongest first."""
    lost = 100 * relied_regions.lost(rows)
    found = []
    for number, centre in enumerate(clusters.centres, 1):
        places = np.flatnonzero(clusters.numbers == number)
        strongest = places[np.argsort(-lost[places], kind="stable")]
        found.append(
            {
                "number": number,
                "num_images": len(places),
                "num_people": len(set(image_set.labels[places].tolist())),
                "lost_a_region": float(lost[places].mean()),
                "lost_an_image": float(lost[places].sum() / len(lost)),
                "row": float(centre[0]),
                "column": float(centre[1]),
                "colour": [float(x) for x in centre[2:]],
                "is_forbidden": number in chosen,
                "examples": [image_set.files[place] for place in strongest],
            }
        )
    return found


def _compared(
    config: Mapping[str, Any],
    networks: Mapping[str, Rows],
    test: ImageSet,
    numbers: np.ndarray,
    chosen: Sequence[int],
) -> dict[str, Any]:
    """Return each network's figures on the test images, and what differs from control.

    Before and after differ also by the steps between them; the control has them too.
    """
    is_forbidden = np.isin(numbers, chosen)
    groups = {ALL: np.ones(len(numbers), bool), "forbidden": is_forbidden}
    groups |= {"others": ~is_forbidden}

    def measured(rows: Rows) -> Measured:
        columns = {
            "accuracy": rows["prediction"] == test.labels,
            "confidence": rows["confidence"],
            "lost": relied_regions.lost(rows),
            "energy": rows["energy"],
        }
        keys = [(name, group) for name in columns for group in groups]
        return Measured(
            {key: 100 * columns[key[0]].astype(np.float64) for key in keys},
            {key: groups[key[1]] for key in keys},
        )

    return comparison.table(
        {name: measured(rows) for name, rows in networks.items()},
        test.labels,
        reference="control",
        seed=config["revise"]["seed"],
        num_resamples=config["revise"]["num_resamples"],
    ) | {"num_test_images": {name: int(group.sum()) for name, group in groups.items()}}


def _marks(
    config: Mapping[str, Any], folder: Path, networks: Mapping[str, FaceClassifier]
) -> dict[str, dict[str, float]]:
    """Return each network's accuracy on every version of the marked test images."""
    versions = shortcut.evidence(**setup.source_arguments(config, folder))["test"]
    size = config["revise"]["batch_size"]
    return {
        name: {
            version: float(100 * (rows["prediction"] == rows["labels"]).mean())
            for version, rows in reliance.answers(
                model, versions, batch_size=size, methods=("cam",)
            ).items()
        }
        for name, model in networks.items()
    }


def _write(
    folder: Path,
    result: Mapping[str, Any],
    rows: Rows,
    image_set: ImageSet,
    options: Mapping[str, Any],
) -> None:
    """Write `revise/`, whole or not at all, and a file to fill in if there is none."""
    places = {file: place for place, file in enumerate(image_set.files)}
    with files.replaced_folder(folder / "revise") as fresh:
        (fresh / "images").mkdir()
        gallery: dict[int, list[dict[str, str]]] = {}
        for cluster in result["clusters"]:
            gallery[cluster["number"]] = []
            for file in cluster["examples"][: options["num_shown"]]:
                path = f"images/{places[file]}.png"
                shown = _shown(
                    image_set.read(places[file]), rows["masks"][places[file]]
                )
                files.write_bytes(fresh / path, overlay.png(shown))
                gallery[cluster["number"]].append({"file": file, "path": path})
        workdir.write_table(fresh, result, revise_table)
        page = revise_page.render(result, gallery, str(folder / forbidden.FORBID))
        files.write_bytes(fresh / "index.html", page.encode())
    if not (folder / forbidden.FORBID).exists():
        files.write_bytes(folder / forbidden.FORBID, forbidden.TEMPLATE.encode())


def _shown(image: np.ndarray, mask: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """Return an image whose region is as it is, and the rest pale."""
    pale = 0.7 * 255 + 0.3 * image.mean(-1, keepdims=True).repeat(3, -1)
    shown = overlay.masked(image, mask, pale)
    size = (2 * len(image), 2 * len(image))
    return np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.NEAREST))


def _protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["revise"]
    return {
        **protocol.common(config, "revise", methods=(options["method"],)),
        "region": f"of the most salient {100 * options['fraction']:g} % of the pixels "
        f"of a training image, by {options['method']} of the true person, the largest "
        f"part that hangs together",
        "clusters": "by place and by colour less the image's mean, Ward's method",
        "lost": "confidence in the true person that is lost where the region is filled "
        "with the image's mean colour",
        "before, control, after": "the same regions of the test images, which the "
        "network before found, in the cluster whose centre is nearest; control was "
        "trained on as long as after, with nothing forbidden",
        "ties": protocol.TIES,
    }
