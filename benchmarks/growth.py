"""How time and memory grow with images and with identities, as a plot.

    python -m benchmarks.growth [--arch=ir_tiny] [--dtype=float32]
        [--images=64,256,1024,4096] [--identities=530,10000,100000,1000000]
        [--batch_size=32] [--plot=docs/growth.png]

Every point is a process of its own: `explain_eval` without a baseline for the numbers
of images, `identities` for those of identities. A small network shows what grows:
beside a large one all the rest disappears. Last comes one JSON line.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backend_bases import FigureCanvasBase
from rich.table import Table

from benchmarks import command
from benchmarks.identities import WAYS
from sdd_jax import screen
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.models import inference
from sdd_jax.models.ir_resnet import ARCHITECTURES

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def result_of(name: str, *options: str) -> Any:
    """Return what a benchmark's last line says.

    Raises:
        InputError: it ended without.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError(
            f"benchmarks.{name} ended with status {done.returncode}, of which its own "
            f"line says why: choose smaller numbers, or correct the options"
        )
    return json.loads(done.stdout.splitlines()[-1])


def with_images(num_images: int, *network: str) -> dict[str, float]:
    """Return one point: seconds, memory, and how often it was launched."""
    result = result_of(
        *("explain_eval", "--baseline=none", "--repeats=1", "--no-flops_ratio"),
        *(f"--images={num_images}", *network),
    )
    return {
        "images": num_images,
        "seconds": num_images / result["images_per_second"],
        "peak_mb": result["peak_memory_mb"],
        "launches": result["launches"],
        "compilations": result["compilations"],
    }


def draw(images: list[dict[str, Any]], rows: list[dict[str, Any]], path: Path) -> None:
    """Write the plot: images on the left, identities on the right."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    numbers = [point["images"] for point in images]
    axes[0].loglog(numbers, [p["seconds"] for p in images], "o-", label="seconds")
    axes[0].loglog(numbers, [p["peak_mb"] for p in images], "s--", label="peak MB")
    axes[0].set_xlabel("images, one launch")
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way and "ms_per_image" in row]
        numbers = [row["identities"] for row in mine]
        for name, style in (("ms_per_image", "o-"), ("compiled_mb", "s--")):
            label = f"{name.replace('_', ' ')}, {way}"
            axes[1].loglog(numbers, [row[name] for row in mine], style, label=label)
    axes[1].set_xlabel("identities")
    for one in axes:
        one.legend(frameon=False, fontsize=8)
        one.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Measure all points, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_tiny")
    parser.add_argument("--dtype", choices=inference.DTYPES, default="float32")
    parser.add_argument("--images", type=command.numbers(1), default="64,256,1024,4096")
    parser.add_argument(
        "--identities", type=command.numbers(2), default="530,10000,100000,1000000"
    )
    parser.add_argument("--batch_size", type=command.at_least(1), default=32)
    parser.add_argument("--plot", default="docs/growth.png")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    plot = expanded(options.plot)  # looked at before hours of measuring
    kinds = FigureCanvasBase.get_supported_filetypes()
    if plot.is_dir() or plot.suffix.lower().removeprefix(".") not in kinds:
        raise InputError(
            f"--plot is {plot}, which is no file that can be drawn: expected a name "
            f"that ends in .png, .svg or .pdf"
        )
    plot.parent.mkdir(parents=True, exist_ok=True)
    size = options.batch_size
    network = (
        f"--arch={options.arch}",
        f"--dtype={options.dtype}",
        f"--batch_size={size}",
    )
    images = [with_images(n, *network) for n in options.images]
    identities = ",".join(map(str, options.identities))
    rows = result_of(
        "identities", *network, f"--images={size}", f"--identities={identities}"
    )
    draw(images, rows, plot)
    for title, points in (("images", images), ("identities", rows)):
        shown = Table(title=f"{options.arch}, {options.dtype}: {title}")
        for heading in points[0]:
            shown.add_column(heading, justify="right")
        for point in points:
            cells = [point.get(heading, "failed") for heading in points[0]]
            shown.add_row(
                *(f"{v:,.1f}" if isinstance(v, float) else str(v) for v in cells)
            )
        screen.console.print(shown)
    print(json.dumps({"images": images, "identities": rows}))


if __name__ == "__main__":
    sys.exit(main())
