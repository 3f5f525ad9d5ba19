"""The metrics of one network on one platform, to be compared with another's.

    python -m benchmarks.gpu.metrics [--workdir=runs/orl] [--platform=cpu] [--drawn]

The embedded default's finished run is evaluated again, in memory; its own results are
left alone. Where there is none, or with --drawn, it is a tiny network of random numbers
on drawn images, which needs no files.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks import command, drawn
from benchmarks.explain_eval import Job
from benchmarks.gpu import rows
from benchmarks.seeds import values_of
from configs import orl
from sdd_jax import screen
from sdd_jax.files import expanded
from sdd_jax.models import inference
from sdd_jax.runs import evaluate


def of_workdir(workdir: Path) -> dict[str, Any]:
    """Return what `--mode=eval` finds in a trained workdir of configs/orl.py."""
    with tempfile.TemporaryDirectory() as folder:
        left = shutil.ignore_patterns("results", "eval", "explain*")
        copy = shutil.copytree(workdir, Path(folder) / "workdir", ignore=left)
        return values_of(evaluate.run(orl.get_config().to_dict(), Path(copy)))


def of_drawn() -> dict[str, Any]:
    """Return the metrics of a network and images of random numbers."""
    # Its statistics are computed too: in TF32 it would be another network.
    with jax.default_matmul_precision("highest"):
        model = drawn.classifier("ir_tiny", "float32", 530)
    return Job(inference.folded(model), drawn.image_set(drawn.images(8)), 4)()


def leaves(values: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """Return the numbers of nested dicts by the names that lead to them."""
    found = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {(name, *path): leaf for path, leaf in leaves(value).items()}
        else:
            found[(name,)] = value
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print one row, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/orl"))
    parser.add_argument("--platform", default="", help="of JAX; its default where ''")
    parser.add_argument("--drawn", action="store_true")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    if options.platform:
        jax.config.update("jax_platforms", options.platform)
    workdir = expanded(options.workdir)
    is_drawn = options.drawn or not (workdir / "checkpoints").is_dir()
    screen.console.quiet = True
    try:
        values = of_drawn() if is_drawn else of_workdir(workdir)
    finally:
        screen.console.quiet = False
    rows.put(
        platform=jax.devices()[0].platform,
        network="a tiny network of random numbers" if is_drawn else str(workdir),
        values={"/".join(path): value for path, value in leaves(values).items()},
    )


if __name__ == "__main__":
    sys.exit(main())
