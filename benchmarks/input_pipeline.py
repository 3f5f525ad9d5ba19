"""How fast images are read, and what it takes to keep a device busy.

    python -m benchmarks.input_pipeline [--images=512] [--threads 1 2 4] [--needed=5000]

JPEG files as FaceScrub's crops are (300 pixels) and as aligned ones are (112), and both
prepared (`sdd_jax.images.prepare`), go through the batches that training takes. What an
image costs is taken from the processor's own clock, which other work on the machine
moves little, and so are the cores that `--needed` images a second take. It is the least
that can do: the threads of one process share Python's lock, and where another thread
brings nothing, the rest takes other processes or a prepared set. Last comes one JSON
line.
"""

import argparse
import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from benchmarks import command
from sdd_jax import screen
from sdd_jax.images import SOURCES, pipeline, prepare
from sdd_jax.types import ImageSet

SIZE = 112  # pixels, what the AdaFace family takes
SIZES = (300, 112)  # of the files, in pixels


def write_jpegs(root: Path, num_images: int, size: int) -> None:
    """Write smooth images with a little noise, ten to an identity."""
    rng = np.random.default_rng(0)
    for number in range(num_images):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth, np.float32) + rng.normal(0, 4, (size, size, 3))
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        path = root / f"person{number // 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def training_set(source: Callable[..., dict[str, ImageSet]], root: Path) -> ImageSet:
    """Return nearly all images, as training reads them."""
    options = {"validation_fraction": 0.0, "test_fraction": 0.1}
    return source(image_size=SIZE, seed=0, root=str(root), **options)["train"]


def image_sets(folder: Path, num_images: int) -> dict[str, ImageSet]:
    """Return each kind of files, and the same images prepared."""
    sets = {}
    for size in SIZES:
        root, prepared = folder / f"jpeg{size}", folder / f"prepared{size}"
        write_jpegs(root, num_images, size)
        # Its own account of the split is of no interest here.
        with contextlib.redirect_stdout(io.StringIO()):
            sets[f"JPEG {size}"] = training_set(SOURCES["folder"], root)
            prepare.prepare(root, prepared, source="folder", size=SIZE)
            sets[f"prepared from {size}"] = training_set(SOURCES["prepared"], prepared)
    return sets


def measure(
    image_set: ImageSet, num_images: int, batch_size: int, num_threads: int
) -> dict[str, float]:
    """Return images a second, and the processor's milliseconds for each."""
    steps = max(num_images // batch_size, 1)

    def read(num_steps: int) -> None:
        batches = pipeline.train_batches(
            image_set,
            batch_size=batch_size,
            seed=0,
            start_step=0,
            num_steps=num_steps,
            num_threads=num_threads,
        )
        for _ in batches:
            pass

    read(1)
    began, busy = time.perf_counter(), time.process_time()
    read(steps)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    num_read = steps * batch_size
    return {
        "images_per_second": num_read / seconds,
        "cpu_milliseconds_per_image": 1000 * busy / num_read,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure all sets with all numbers of threads, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--images", type=command.at_least(1), default=512, help="read in each run"
    )
    parser.add_argument("--batch_size", type=command.at_least(1), default=64)
    parser.add_argument(
        "--threads", type=command.at_least(1), nargs="+", default=[1, 2, 4]
    )
    parser.add_argument(
        "--needed",
        type=command.at_least(1),
        default=5000,
        help="images a second the device takes",
    )
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sets = image_sets(Path(folder), options.images)
        for name, image_set in sets.items():
            rates = {
                str(num_threads): measure(
                    image_set, options.images, options.batch_size, num_threads
                )
                for num_threads in options.threads
            }
            # With one thread nothing waits for a lock or for a core.
            least = rates[str(min(options.threads))]["cpu_milliseconds_per_image"]
            cores = math.ceil(options.needed * least / 1000)
            results[name] = {"threads": rates, "cores_needed": cores}

    shown = Table(
        title=f"Images of {SIZE} pixels, by so many threads on {os.cpu_count()} cores"
    )
    for heading in (
        "",
        *(f"images/s by {number}" for number in options.threads),
        "CPU ms each",
        f"cores for {options.needed:,.0f}/s",
    ):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        rates = list(result["threads"].values())
        shown.add_row(
            name,
            *(f"{rate['images_per_second']:,.0f}" for rate in rates),
            f"{rates[0]['cpu_milliseconds_per_image']:.3f}",
            str(result["cores_needed"]),
        )
    screen.console.print(shown)
    print(json.dumps(vars(options) | {"num_cores": os.cpu_count(), "sets": results}))


if __name__ == "__main__":
    sys.exit(main())
