"""What a fine-tuning step of all parameters costs on this device.

    python -m benchmarks.gpu.training [--arch=ir_101] [--batch_size=64] [--steps=10]

The step is that of `benchmarks.train_step`, in bfloat16 and in float32. Where a batch
does not fit, the next is half as large. float32 leaves the precision to XLA, as
training does: on a GPU that may be TF32. Memory's peak is the process's so far.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import command, train_step_worker
from benchmarks.gpu import rows
from benchmarks.train_step import TRAINED
from sdd_jax.models.ir_resnet import ARCHITECTURES


def measure(arch: str, dtype: str, batch_size: int, num_steps: int) -> dict[str, Any]:
    """Return a row; the median of the steps, the first of which does not count."""
    options = {"arch": arch, "dtype": dtype, "batch_size": batch_size}
    options["images"] = batch_size * num_steps
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        train_step_worker.write_images(files, options)
        variant = TRAINED["all parameters"]
        take, _ = train_step_worker.jax_side(variant, options, files)
    seconds = []
    for number in range(num_steps + 1):
        began = time.perf_counter()
        take(number)
        seconds.append(time.perf_counter() - began)
    return {
        "dtype": dtype,
        "batch_size": batch_size,
        "images_per_second": batch_size / statistics.median(seconds[1:]),
        "peak_memory_bytes": rows.peak_memory(),
    }


def largest_that_fits(
    arch: str, dtype: str, batch_size: int, num_steps: int
) -> dict[str, Any]:
    """Return the row of a batch, or of the largest half, quarter ... that fits."""
    while True:
        try:
            return measure(arch, dtype, batch_size, num_steps)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or batch_size == 1:
                raise
        batch_size //= 2


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each dtype, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_101")
    parser.add_argument("--batch_size", type=command.at_least(1), default=64)
    parser.add_argument("--steps", type=command.at_least(1), default=10)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    for dtype in ("bfloat16", "float32"):
        rows.put(
            **largest_that_fits(options.arch, dtype, options.batch_size, options.steps)
        )


if __name__ == "__main__":
    sys.exit(main())
