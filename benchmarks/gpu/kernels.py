"""Which kernels explaining and evaluating spends its time in, and what bounds them.

    python -m benchmarks.gpu.kernels [--arch=ir_101] [--dtype=bfloat16]
        [--batch_size=256] [--batches=2] [--identities=530] [--most=10]

JAX's profiler watches the job of `benchmarks.explain_eval` once, on images that lie
on the device. One row a kernel, the longest first; kernels of one name are one. Before
them comes a row with the time in all kernels and by the clock, profiler included.

    bound   "arithmetic" or "memory", by the operations and bytes that the trace has of
            a kernel and the chip's published peaks; "unknown" where one is missing

On a CPU a kernel is an operation of XLA's, and one that holds others counts with them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from benchmarks import command, drawn
from benchmarks.explain_eval import Job
from benchmarks.gpu import rows, yardsticks
from benchmarks.gpu.explain_eval import device_work
from sdd_jax.errors import InputError
from sdd_jax.models import inference
from sdd_jax.models.ir_resnet import ARCHITECTURES


def events_of(planes: Iterable[Any]) -> Iterable[tuple[str, float, dict[str, Any]]]:
    """Yield each kernel's name, nanoseconds and statistics, once a launch.

    A GPU's plane has a line for each stream; its other lines sum them up again.
    """
    for plane in planes:
        is_gpu = plane.name.startswith("/device:GPU")
        for line in plane.lines:
            if is_gpu and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                found = dict(event.stats)
                if is_gpu or "hlo_op" in found:
                    yield event.name, event.duration_ns, found


def summed(
    events: Iterable[tuple[str, float, dict[str, Any]]], kind: str, dtype: str
) -> list[dict[str, Any]]:
    """Return a row for every kernel, the longest first."""
    kernels: dict[str, dict[str, Any]] = {}
    for name, nanoseconds, found in events:
        start = {"seconds": 0.0, "launches": 0, "flops": 0.0, "bytes": 0.0}
        row = kernels.setdefault(name, {"name": name} | start)
        row["seconds"] += nanoseconds / 1e9
        row["launches"] += 1
        row["flops"] += float(found.get("flops", 0))
        row["bytes"] += float(found.get("bytes_accessed", 0))
    total = sum(row["seconds"] for row in kernels.values())
    for row in kernels.values():
        row["share"] = row["seconds"] / total if total else 0.0
        row["bound"] = yardsticks.bound(kind, dtype, row["flops"], row["bytes"])
    return sorted(kernels.values(), key=lambda row: -row["seconds"])


def main(arguments: list[str] | None = None) -> int:
    """Print the rows, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_101")
    parser.add_argument("--dtype", choices=inference.DTYPES, default="bfloat16")
    parser.add_argument("--batch_size", type=command.at_least(1), default=256)
    parser.add_argument("--batches", type=command.at_least(1), default=2)
    parser.add_argument("--identities", type=command.at_least(5), default=530)
    parser.add_argument("--most", type=command.at_least(1), default=10)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    trained = drawn.classifier(options.arch, "float32", options.identities)
    model = inference.folded(trained, dtype=options.dtype)
    pixels = drawn.images(options.batches * options.batch_size)
    job = Job(model, drawn.image_set(pixels), options.batch_size)
    work = device_work(job)
    work()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            work()
            seconds = time.perf_counter() - began
        traces = list(Path(folder).rglob("*.xplane.pb"))
        events = [
            event
            for trace in traces
            for event in events_of(ProfileData.from_file(str(trace)).planes)
        ]
    kernels = summed(events, rows.kind(), options.dtype)
    if not kernels:
        raise InputError(
            "the profiler's trace has no kernel in it: expected some; JAX needs the "
            "right to read the device's counters"
        )
    rows.put(
        images=len(pixels),
        kernels=len(kernels),
        kernel_seconds=sum(row["seconds"] for row in kernels),
        clock_seconds=seconds,
    )
    for row in kernels[: options.most]:
        rows.put(**row)


if __name__ == "__main__":
    sys.exit(main())
