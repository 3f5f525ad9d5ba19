"""How fast a network explains and evaluates, beside what the chip could do.

    python -m benchmarks.gpu.explain_eval [--arch=ir_101] [--dtype=bfloat16]
        [--batch_sizes=64,256,1024] [--images=4096] [--identities=530] [--repeats=2]

The job is that of `benchmarks.explain_eval`: five forward passes an image. One row a
batch size, the smallest first: memory's peak is the process's so far.

    images_per_second         from images in the host's memory to the metrics
    device_images_per_second  of the programs alone, on images that lie on the device
    flops_per_image           XLA's count of a forward pass without tiles, five times;
                              a multiplication and an addition are two
    share_of_peak             of the published one; null where it is not known
    seconds_for_all           the paper's test split at images_per_second, in whole
                              batches
"""

import argparse
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from benchmarks import command, drawn
from benchmarks.counting import compilations, launches
from benchmarks.explain_eval import METHODS, Job, num_passes
from benchmarks.gpu import rows, yardsticks
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.runs.whole_split import batches_a_chunk, chunks


def flops_of_a_pass(trained: FaceClassifier, num_images: int = 4) -> float:
    """Return XLA's count for one image, in the form without tiles.

    It is compiled for the CPU, whose compiler hides no convolution from the count.
    """
    graphdef, arrays = split_model(inference.folded(trained, platform="gpu"))
    cpu = SingleDeviceSharding(jax.devices("cpu")[0])

    def forward(arrays: Any, images: Any) -> Any:
        model = join_model(graphdef, arrays)
        return model.logits(model.feature_maps(images))

    def shape(x: Any) -> Any:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cpu)

    size = trained.spec.size
    images = jax.ShapeDtypeStruct((num_images, size, size, 3), jnp.uint8, sharding=cpu)
    compiled = jax.jit(forward).lower(jax.tree.map(shape, arrays), images).compile()
    return (compiled.cost_analysis() or {})["flops"] / num_images


def fastest(work: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of the fastest of some repeats."""
    seconds = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds = min(seconds, time.perf_counter() - began)
    return seconds


def device_work(job: Job) -> Callable[[], None]:
    """Return the job's programs on images that are put on the device beforehand."""
    size = job.programs.batch_size
    length = batches_a_chunk(job.image_set, size, num_masks=len(METHODS))
    parts = list(chunks(job.image_set, batch_size=size, length=length))

    def work() -> None:
        for chunk in parts:
            deque(job.programs(chunk, METHODS), maxlen=0)

    return work


def measure(
    model: FaceClassifier, dtype: str, batch_size: int, num_images: int, repeats: int
) -> dict[str, Any]:
    """Return a row without what needs the count of operations."""
    num_images = -(-num_images // batch_size) * batch_size
    pixels = drawn.images(num_images, size=model.spec.size)
    with launches() as launched, compilations() as compiled:
        job = Job(model, drawn.image_set(pixels), batch_size)
        job()
    number = len(launched)
    rate = num_images / fastest(job, repeats)
    num_batches = -(-yardsticks.NUM_IMAGES // batch_size)
    return {
        "dtype": dtype,
        "batch_size": batch_size,
        "images": num_images,
        "images_per_second": rate,
        "device_images_per_second": num_images / fastest(device_work(job), repeats),
        "seconds_for_all": num_batches * batch_size / rate,
        "launches": number,
        "compilations": len(compiled),
        "compile_seconds": sum(compiled),
        "peak_memory_bytes": rows.peak_memory(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each batch size, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_101")
    parser.add_argument("--dtype", choices=inference.DTYPES, default="bfloat16")
    parser.add_argument("--batch_sizes", type=command.numbers(1), default="64,256,1024")
    parser.add_argument(
        "--images",
        type=command.at_least(1),
        default=4096,
        help="rounded up to whole batches",
    )
    parser.add_argument("--identities", type=command.at_least(5), default=530)
    parser.add_argument("--repeats", type=command.at_least(1), default=2)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    trained = drawn.classifier(options.arch, "float32", options.identities)
    flops = num_passes(METHODS) * flops_of_a_pass(trained)
    peak = yardsticks.peak(rows.kind(), options.dtype)
    model = inference.folded(trained, dtype=options.dtype)
    for size in sorted(options.batch_sizes):
        row = measure(model, options.dtype, size, options.images, options.repeats)
        a_second = flops * row["device_images_per_second"]
        rows.put(
            **row,
            flops_per_image=flops,
            flops_per_second=a_second,
            share_of_peak=a_second / peak if peak else None,
        )


if __name__ == "__main__":
    sys.exit(main())
