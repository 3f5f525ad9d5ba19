"""Train and evaluate the embedded default with several seeds, and print the means.

    python -m benchmarks.seeds [--seeds 0 1 2] [--workdir runs/seeds] [--parts head]

Last comes one JSON line. A workdir that is finished is not trained again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import command
from configs import orl
from sdd_jax import screen
from sdd_jax.faithfulness import METRICS, ORDERS
from sdd_jax.runs import evaluate, train

_SHOWN = ("confidence_drop", "prediction_change")


def measure(seed: int, workdir: Path, parts: str) -> dict[str, Any]:
    """Return one seed's metrics."""
    config = orl.get_config()
    config.seed = config.eval.seed = seed
    config.train.parts = parts or config.train.parts
    train.run(config.to_dict(), workdir)
    return evaluate.run(config.to_dict(), workdir)


def mean(values: list[Any]) -> Any:
    """Return the mean over seeds of every number in equally nested dicts."""
    if isinstance(values[0], dict):
        return {name: mean([value[name] for value in values]) for name in values[0]}
    return float(np.mean(values))


def values_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result's accuracy and metrics without their intervals."""
    methods = {
        method: {
            fill: {
                scheme: {metric: cells[scheme][metric]["value"] for metric in METRICS}
                for scheme in ORDERS
            }
            for fill, cells in fills.items()
        }
        for method, fills in result["methods"].items()
    }
    return {"accuracy": result["accuracy"]["value"], "methods": methods}


def table(results: list[dict[str, Any]], names: list[str]) -> Table:
    """Return a row a method and fill, a column a seed: drop / change."""
    shown = Table(title="Deletion: confidence drop % / prediction change %")
    shown.add_column("")
    for name in names:
        shown.add_column(name, justify="right")
    accuracy = [f"{result['accuracy']:.2f}" for result in results]
    shown.add_row("test accuracy %", *accuracy, end_section=True)
    for fill in results[0]["methods"]["sdd"]:
        for method in results[0]["methods"]:
            cells = [
                " / ".join(
                    f"{result['methods'][method][fill]['deletion'][metric]:.1f}"
                    for metric in _SHOWN
                )
                for result in results
            ]
            shown.add_row(f"{method}, {fill}", *cells)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Run all seeds, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--seeds", type=command.at_least(0), nargs="+", default=[0, 1, 2]
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--parts", default="", help="override config.train.parts")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    results = [
        values_of(measure(seed, options.workdir / str(seed), options.parts))
        for seed in options.seeds
    ]
    names = [f"seed {seed}" for seed in options.seeds]
    screen.console.print(table([*results, mean(results)], [*names, "mean"]))
    print(json.dumps(mean(results)))


if __name__ == "__main__":
    sys.exit(main())
