"""Mode eval: the paper's Table 1, measured on a split of the data.

Writes `eval/metrics.json` (values, intervals, protocol) and `eval/per_sample.npz` (what
each number was made of). What each method gave goes to `results/` as soon as it is
there: a run that was stopped, or that gets one more method, computes what is missing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files, screen
from sdd_jax.faithfulness import METRICS, ORDERS, fills, grid
from sdd_jax.faithfulness.summary import summarise
from sdd_jax.reports import table
from sdd_jax.runs import protocol, settings, setup, store, workdir
from sdd_jax.runs.split_outcomes import Programs, SplitOutcomes, split_outcomes
from sdd_jax.saliency import bind_methods
from sdd_jax.types import ImageSet


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Evaluate the workdir's best checkpoint; return `metrics.json`'s content."""
    settings.check(config)
    options = config["eval"]
    methods = bind_methods(options["methods"], config["saliency"])
    wanted = grid(options["fills"], (options["fraction"],))
    image_set, model, provenance = setup.open_split(config, folder, "eval")

    screen.say(
        f"evaluating {len(methods)} methods on {len(image_set)} "
        f"{options['split']} images"
    )
    results = workdir.results(folder, provenance)
    programs = Programs(
        model,
        methods=methods,
        wanted=wanted,
        seed=options["seed"],
        batch_size=options["batch_size"],
    )
    rows = split_outcomes(
        programs,
        image_set,
        results=results,
        facts=workdir.facts(provenance),
        options=config["saliency"],
    )
    store.keep_only(results)
    per_sample = _per_sample(rows, image_set, options)
    for name in ("confidence", "masked_confidence"):
        setup.require_finite(per_sample[name], image_set.files, folder)
    result = summarise(
        image_set.labels,
        rows.intact,
        rows.perturbed,
        methods=options["methods"],
        wanted=wanted,
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    ) | {"protocol": _protocol(config) | provenance}
    if not distributed.is_first():
        return result
    with files.replaced_folder(folder / "eval") as fresh:
        files.write_arrays(fresh / "per_sample.npz", per_sample)
        files.write_json(fresh / "metrics.json", result)
    screen.console.print(table.table_1(result))
    if result.get("difference_to_sdd"):
        screen.console.print(table.differences(result))
    screen.say(f"written: {folder / 'eval' / 'metrics.json'}")
    return result


def _per_sample(
    rows: SplitOutcomes, image_set: ImageSet, options: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the arrays of `per_sample.npz`; those of masks end in the images."""
    names = options["methods"], options["fills"], ORDERS
    shape = (*map(len, names), len(image_set))
    details = {
        f"{method}_{name}": value
        for method, found in rows.details.items()
        for name, value in found.items()
    }
    return {
        "index": np.arange(len(image_set), dtype=np.int32),
        "label": image_set.labels,
        "prediction": rows.intact.decision,
        "confidence": rows.intact.confidence,
        "masked_confidence": rows.perturbed.confidence.reshape(shape),
        "masked_prediction": rows.perturbed.decision.reshape(shape),
        **details,
        "files": np.array(image_set.files),
        "names": np.array(image_set.names),
        **dict(zip(("methods", "fills", "schemes"), map(np.array, names), strict=True)),
    }


def _protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["eval"]
    return {
        **protocol.common(config, "eval", over="images"),
        "target": "the class predicted on the intact image",
        "fraction": options["fraction"],
        "rounding": "round(fraction * height * width) pixels, halves to even",
        "ties": protocol.TIES,
        "fills": {name: fills.IN_WORDS[name] for name in options["fills"]},
        "unit": "per cent; low and high bound the interval of value",
        **{name: metric.formula for name, metric in METRICS.items()},
        "difference_to_sdd": "SDD minus the method, paired by image",
        "per_sample": "masked_*: [methods, fills, schemes, images]; METHOD_DETAIL: "
        "what else a method found; sdd_scale is F, sdd_amplification alpha",
    }
