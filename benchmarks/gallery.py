"""Time and memory of asking who an image is, as the enrolled people become a million.

    python -m benchmarks.gallery [--references=1000,1000000] [--dimensions=128]
        [--images=80] [--batch_size=40] [--num_top=5]

Each row is a process of its own: a gallery of random references, as many dimensions as
SFace's by default, ranks random embeddings as `--mode=identify` does; the network that
makes embeddings is not timed. Last comes one JSON line.

    ms_per_image     without compiling
    peak_mb          the process's largest memory, with JAX, the compiler and the making
                     of the gallery
    references_mb    the references themselves
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.table import Table

from benchmarks import command
from sdd_jax import screen
from sdd_jax.errors import InputError
from sdd_jax.models.embedding_heads import PooledEmbedding
from sdd_jax.models.gallery import GalleryHead

NAMES = "ms_per_image", "peak_mb", "references_mb"


def measure(
    num_references: int,
    *,
    num_dimensions: int,
    num_images: int,
    batch_size: int,
    num_top: int,
) -> dict[str, Any]:
    """Return one row, measured in this process."""
    rng = np.random.default_rng(0)
    references = rng.standard_normal((num_references, num_dimensions), np.float32)
    embedding = PooledEmbedding(
        num_dimensions, num_dimensions=num_dimensions, rngs=nnx.Rngs(0)
    )
    head = GalleryHead(embedding, references)
    num_bytes = references.nbytes
    del references
    graphdef, arrays = nnx.split(head)

    @jax.jit
    def program(arrays: Any, maps: jax.Array) -> Any:
        ranking = nnx.merge(graphdef, arrays).ranking(maps, num_top=num_top)
        return ranking.classes, ranking.logits

    maps = rng.standard_normal((batch_size, 1, 1, num_dimensions), np.float32)
    maps = jax.device_put(maps)
    jax.block_until_ready(program(arrays, maps))
    num_batches = -(-num_images // batch_size)
    start = time.perf_counter()
    for _ in range(num_batches):
        jax.block_until_ready(program(arrays, maps))
    seconds = time.perf_counter() - start
    return {
        "references": num_references,
        "ms_per_image": 1000 * seconds / (num_batches * batch_size),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "references_mb": num_bytes / 2**20,
    }


def in_its_own_process(num_references: int, options: Any) -> dict[str, Any]:
    """Return one row; one that fails, for want of memory for example, says so."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.gallery", "--only"),
            *(f"--references={num_references}", f"--dimensions={options.dimensions}"),
            *(f"--images={options.images}", f"--batch_size={options.batch_size}"),
            f"--num_top={options.num_top}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {"references": num_references, "failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure every number of references, and return the exit status."""
    parser = command.parser(__doc__)
    number = command.at_least(1)
    parser.add_argument("--references", type=command.numbers(1), default="1000,1000000")
    parser.add_argument("--dimensions", type=number, default=128)
    parser.add_argument("--images", type=number, default=80)
    parser.add_argument("--batch_size", type=number, default=40)
    parser.add_argument("--num_top", type=number, default=5)
    parser.add_argument("--only", action="store_true", help="one row, in this process")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    if options.only:
        row = measure(
            options.references[0],
            num_dimensions=options.dimensions,
            num_images=options.images,
            batch_size=options.batch_size,
            num_top=options.num_top,
        )
        print(json.dumps(row))
        return
    rows = [in_its_own_process(size, options) for size in options.references]
    if all("failed" in row for row in rows):
        raise InputError(
            "no row could be measured, and the lines above say why: choose fewer "
            "--references or a smaller --batch_size"
        )
    shown = Table(title=f"{options.dimensions} dimensions, batch {options.batch_size}")
    for heading in ("references", *NAMES):
        shown.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{row[name]:,.2f}" if name in row else "failed" for name in NAMES]
        shown.add_row(f"{row['references']:,}", *cells)
    screen.console.print(shown)
    print(json.dumps(rows))


if __name__ == "__main__":
    sys.exit(main())
