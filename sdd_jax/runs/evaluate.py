"""Mode eval: the paper's Table 1, measured on a split of the data.

Writes `eval/metrics.json` (values, intervals, protocol) and `eval/per_sample.npz` (what
each number was made of).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import checkpoints, files, screen, sharding
from sdd_jax.faithfulness import SCHEMES, check_fills, metrics
from sdd_jax.faithfulness.study import study
from sdd_jax.faithfulness.summary import summarise
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.reports import table
from sdd_jax.runs import pictures, settings, setup, workdir
from sdd_jax.runs.whole_split import over_split
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch

SECTIONS = ("seed", "data", "model")  # must be what the checkpoint was made with


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Evaluate the workdir's best checkpoint; return `metrics.json`'s content."""
    settings.check(config)
    options = config["eval"]
    methods = bind_methods(options["methods"], config["saliency"])
    check_fills(options["fills"])
    inference.check_dtype(config["compute_dtype"])
    sharding.check_batch_size(options["batch_size"], "eval.batch_size")
    checkpoints.latest_step(folder)  # raises where nothing was trained
    workdir.check(folder, config, SECTIONS)
    splits = setup.load_splits(config, folder)
    image_set = pictures.named_split(splits, options["split"], "eval.split")
    model, provenance = setup.load_model(
        folder, image_set.names, config["compute_dtype"]
    )
    workdir.claim(folder, config, SECTIONS)

    screen.say(
        f"evaluating {len(methods)} methods on {len(image_set)} "
        f"{options['split']} pictures"
    )
    one_batch, arrays = batch_program(model, methods, options)
    out = over_split(one_batch, arrays, image_set, batch_size=options["batch_size"])
    sums, per_sample = _joined(*out)
    for name in ("confidence", "masked_confidence"):
        setup.require_finite(per_sample[name], image_set.files, folder)
    result = summarise(
        sums,
        per_sample,
        methods=options["methods"],
        fills=options["fills"],
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    ) | {"protocol": _protocol(config) | provenance}
    per_sample["files"] = np.array(image_set.files)
    per_sample["names"] = np.array(image_set.names)
    for axis, names in (
        ("methods", options["methods"]),
        ("fills", options["fills"]),
        ("schemes", SCHEMES),
    ):
        per_sample[axis] = np.array(names)
    with files.replaced_folder(folder / "eval") as fresh:
        files.write_arrays(fresh / "per_sample.npz", per_sample)
        files.write_json(fresh / "metrics.json", result)
    screen.console.print(table.table_1(result))
    if result.get("difference_to_sdd"):
        screen.console.print(table.differences(result))
    screen.say(f"written: {folder / 'eval' / 'metrics.json'}")
    return result


def batch_program(
    model: FaceClassifier, methods: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Callable[[Any, Batch], tuple[Any, Any]], Any]:
    """Return what is measured on one batch, as a function of arrays, and the arrays.

    It returns sums over the batch, and the pictures' own numbers.

    Args:
        model: the classifier.
        methods: from `bind_methods`.
        options: the config's `eval`: fills, fraction and seed.
    """
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, batch: Batch) -> tuple[Any, Any]:
        out = study(
            join_model(graphdef, arrays),
            batch,
            methods=methods,
            fills=options["fills"],
            fraction=options["fraction"],
            seed=options["seed"],
        )
        correct = out["prediction"] == batch.labels
        sums = {
            "all": metrics.sums(out["effects"], batch.valid),
            "correctly_classified": metrics.sums(out["effects"], batch.valid & correct),
        }
        per_sample = {
            "valid": batch.valid,
            "index": batch.indices,
            "label": batch.labels,
            "prediction": out["prediction"],
            "confidence": out["confidence"],
            "masked_confidence": out["masked_confidence"],
            "masked_prediction": out["masked_prediction"],
        }
        for method, details in out["details"].items():
            for name, value in details.items():
                per_sample[f"{method}_{name}"] = value
        return sums, per_sample

    return one_batch, arrays


def _joined(
    sums: Mapping[str, Any], per_sample: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the sums over all batches, in float64, and the valid pictures' arrays.

    Args:
        sums: of every batch, [batches, ...].
        per_sample: [batches, batch, ...]; per-mask arrays have the pictures last.
    """
    totals = {group: metrics.total(parts) for group, parts in sums.items()}
    valid = per_sample["valid"].reshape(-1)
    joined = {
        name: np.concatenate(list(rows), axis=-1)[..., valid]
        if name.startswith("masked_")
        else rows.reshape(-1, *rows.shape[2:])[valid]
        for name, rows in per_sample.items()
        if name != "valid"
    }
    return totals, joined


def _protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["eval"]
    return {
        "split": options["split"],
        "target": "the class predicted on the intact picture",
        "fraction": options["fraction"],
        "rounding": "round(fraction * height * width) pixels, halves to even",
        "ties": "broken at random, seeded by picture, never by position",
        "fills": {
            "black": "RGB 0, 0, 0",
            "mean": "the picture's own mean colour, rounded",
        },
        "unit": "per cent; low and high bound the interval of value",
        "confidence_drop": "100 max(0, (p - p_masked) / p), p = softmax",
        "confidence_drop_signed": "100 (p - p_masked) / p",
        "confidence_drop_points": "100 (p - p_masked)",
        "prediction_change": "share of pictures whose predicted class changes",
        "difference_to_sdd": "SDD minus the method, paired by picture",
        "per_sample": "masked_*: [methods, fills, schemes, images]; METHOD_DETAIL: "
        "what else a method found; sdd_scale is F, sdd_amplification alpha",
        "intervals": f"95 % percentile bootstrap over pictures, "
        f"{options['num_resamples']} resamples, seed {options['seed']}",
        "seed": options["seed"],
        "saliency": {
            name: config["saliency"].get(name, {}) for name in options["methods"]
        },
        "config": {name: config[name] for name in ("seed", "data", "model", "train")},
        "versions": workdir.versions(),
    }
