"""What SDD's open choices do to the figures, on one trained workdir.

    python -m benchmarks.choices [--workdir runs/orl]

Each row changes one parameter of the default. Needs a workdir of configs/orl.py that is
trained; evaluates in memory and leaves the workdir's own results alone. Last comes one
JSON line.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import command
from benchmarks.seeds import values_of
from configs import orl
from sdd_jax import checkpoints, screen
from sdd_jax.files import expanded
from sdd_jax.runs import evaluate

CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "3 classes compared": {"num_classes_compared": 3},
    "10 classes compared": {"num_classes_compared": 10},
    "class weights not centred": {"centre": False},
    "F = number of rivals": {"scale": 4.0},
    "F = 50": {"scale": 50.0},
    "alpha = 0.2": {"amplification": 0.2},
}


def measure(options: dict[str, Any], workdir: Path) -> dict[str, Any]:
    """Return SDD's metrics with some of its parameters changed."""
    config = orl.get_config()
    config.eval.methods = ("sdd",)
    config.saliency.sdd.update(options)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(workdir, Path(folder) / "workdir"))
        return values_of(evaluate.run(config.to_dict(), copy))["methods"]["sdd"]


def main(arguments: list[str] | None = None) -> int:
    """Measure all choices, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/orl"))
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(expanded(options.workdir)))


def _run(workdir: Path) -> None:
    checkpoints.best_step(workdir)  # before a folder without any is copied
    screen.console.quiet = True
    try:
        results = {name: measure(c, workdir) for name, c in CHOICES.items()}
    finally:
        screen.console.quiet = False
    shown = Table(title="SDD, deletion: confidence drop % / prediction change %")
    for heading in ("", "black", "mean"):
        shown.add_column(heading)
    for name, fills in results.items():
        cells = [
            f"{fills[fill]['deletion']['confidence_drop']:.1f} / "
            f"{fills[fill]['deletion']['prediction_change']:.1f}"
            for fill in ("black", "mean")
        ]
        shown.add_row(name, *cells)
    screen.console.print(shown)
    print(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
