"""What bfloat16 does to a trained workdir's explanations and figures.

    python -m benchmarks.precision [--workdir=runs/orl] [--config=orl] [--images=200]

The network's convolutions are computed in float32 and in bfloat16; all else is the
same. Last comes one JSON line.

    overlap        of the most salient fifths, intersection over union, mean
    smallest       of these overlaps
    same           share of the images with the same prediction, per cent
    drop, change   SDD's deletion and retention under both fills, per cent
"""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

import configs
from benchmarks import command
from sdd_jax import checkpoints, screen
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ORDERS, Outcome, grid, measured_each
from sdd_jax.faithfulness.study import study
from sdd_jax.files import expanded
from sdd_jax.images import pipeline
from sdd_jax.models import inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import setup
from sdd_jax.runs.whole_split import over_split
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch, ImageSet


def measured(
    config: dict[str, Any], folder: Path, image_set: ImageSet, dtype: str
) -> dict[str, np.ndarray]:
    """Return masks, predictions and effects of SDD, [images, ...]."""
    model, _ = setup.load_model(folder, image_set.names, dtype)
    graphdef, arrays = split_model(model)
    options = config["eval"]
    wanted = grid(options["fills"], (options["fraction"],))

    def one_batch(arrays: Any, batch: Batch) -> dict[str, Any]:
        out = study(
            join_model(graphdef, arrays),
            batch,
            methods=bind_methods(("sdd",), config["saliency"]),
            wanted=wanted,
            seed=options["seed"],
        )
        return {
            "salient": out["ranks"][0] == 0,
            "prediction": out["intact"].decision,
            "confidence": out["intact"].confidence,
            "masked": jax.tree.map(lambda row: row[0].T, out["perturbed"]),
            "valid": batch.valid,
        }

    rows = over_split(one_batch, arrays, image_set, batch_size=options["batch_size"])
    rows = jax.tree.map(lambda row: row.reshape(-1, *row.shape[2:]), rows)
    valid = rows.pop("valid")
    rows = jax.tree.map(lambda row: row[valid], rows)
    intact = Outcome(rows["confidence"], rows["prediction"])
    masked = Outcome(*(row.T for row in rows.pop("masked")))
    shape = (len(options["fills"]), len(ORDERS), -1)
    for name in ("confidence_drop", "prediction_change"):
        values = measured_each(name, intact, masked, wanted).reshape(shape)
        rows[name] = np.moveaxis(values, -1, 0)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Compare the two, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--workdir", default="runs/orl")
    parser.add_argument("--config", default="orl")
    parser.add_argument("--images", type=command.at_least(1), default=200)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _config(name: str) -> dict[str, Any]:
    known = [each.name for each in pkgutil.iter_modules(configs.__path__)]
    if name not in known:
        raise InputError(f"unknown config {name!r}: expected one of {', '.join(known)}")
    return importlib.import_module(f"configs.{name}").get_config().to_dict()


def _run(options: argparse.Namespace) -> None:
    config, folder = _config(options.config), expanded(options.workdir)
    checkpoints.best_step(folder)  # before all images are looked for
    splits = setup.load_splits(config, folder)
    image_set = splits[config["eval"]["split"]]
    image_set = pipeline.subset(image_set, range(min(options.images, len(image_set))))
    by_dtype = {
        dtype: measured(config, folder, image_set, dtype) for dtype in inference.DTYPES
    }

    ours, theirs = by_dtype.values()
    both = (ours["salient"] & theirs["salient"]).sum((1, 2))
    either = (ours["salient"] | theirs["salient"]).sum((1, 2))
    result: dict[str, Any] = {
        "images": len(image_set),
        "overlap": float((both / either).mean()),
        "smallest": float((both / either).min()),
        "same": 100 * float((ours["prediction"] == theirs["prediction"]).mean()),
    }
    names = {"drop": "confidence_drop", "change": "prediction_change"}
    shown = Table(
        title=f"{len(image_set)} images: {result['same']:.1f} % predicted alike, "
        f"overlap {result['overlap']:.3f}, smallest {result['smallest']:.3f}"
    )
    for heading in ("SDD", *by_dtype):
        shown.add_column(heading)
    for f, fill in enumerate(config["eval"]["fills"]):
        for s, scheme in enumerate(ORDERS):
            for short, name in names.items():
                cells = {
                    dtype: float(rows[name][:, f, s].mean())
                    for dtype, rows in by_dtype.items()
                }
                result[f"{fill} {scheme} {short}"] = cells
                shown.add_row(
                    f"{fill}, {scheme}: {short}",
                    *(f"{value:.2f}" for value in cells.values()),
                )
    screen.console.print(shown)
    print(json.dumps(jax.tree.map(float, result)))


if __name__ == "__main__":
    sys.exit(main())
