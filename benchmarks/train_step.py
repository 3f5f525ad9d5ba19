"""What fine-tuning costs, beside a hand-written PyTorch step: images/s and memory.

    python -m benchmarks.train_step [--arch=ir_101] [--images=32] [--dtype=float32]

All parameters, with and without rematerialisation, and the head alone on features that
are computed once, which is timed apart, with compiling. Weights, images and labels
are the same on both sides, and so are loss, clipping and AdamW; batch norms keep their
statistics, and nothing is augmented. Each variant has a process of its own, so that its
peak memory is its own, and they take their steps in turns, one at a time: whatever else
the machine does, it does to all of them. Last comes one JSON line.
"""

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

# Nothing that is larger: a process's peak memory begins with what its parent had.
from benchmarks import command
from sdd_jax.errors import InputError
from sdd_jax.screen import console, say

SIDES = ("JAX", "PyTorch")
TRAINED = {
    "all parameters": {"parts": "all", "remat": False},
    "all parameters, remat": {"parts": "all", "remat": True},
    "head only": {"parts": "head", "remat": False},
}
VARIANTS = {
    f"{side}, {what}": {"side": side, **variant}
    for what, variant in TRAINED.items()
    for side in SIDES
}


class Worker:
    """A process that takes a step whenever it is told to."""

    def __init__(self, variant: str, folder: Path):
        """Start it; it answers once it is ready."""
        self._variant = variant
        command = [sys.executable, "-m", "benchmarks.train_step_worker"]
        self._process = subprocess.Popen(
            [*command, json.dumps(VARIANTS[variant]), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin and self._process.stdout
        self._to: IO[str] = self._process.stdin
        self._from: IO[str] = self._process.stdout

    def ask(self, what: str) -> dict[str, Any]:
        """Return the answer to "ready", "step" or "end".

        Raises:
            InputError: the process has ended.
        """
        with contextlib.suppress(BrokenPipeError):
            self._to.write(what + "\n")
            self._to.flush()
        answer = self._from.readline()
        if not answer:
            raise InputError(
                f"the process of {self._variant!r} ended with status "
                f"{self._process.wait()}, and a line above may say why: choose a "
                f"smaller --batch_size, or leave its side out with --sides"
            )
        return json.loads(answer)

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        self._process.wait()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return each variant's figures by its name."""
    names = [f"{side}, {what}" for what in options.trained for side in options.sides]
    with tempfile.TemporaryDirectory() as folder:
        workers: dict[str, Worker] = {}
        files = Path(folder)
        (files / "options.json").write_text(json.dumps(vars(options)))
        write = [sys.executable, "-m", "benchmarks.train_step_worker", "files", folder]
        if status := subprocess.run(write).returncode:
            raise InputError(
                f"the process that draws images and weights ended with status "
                f"{status}, and a line above says why: correct the options"
            )
        try:
            for name in names:
                workers[name] = Worker(name, files)
                workers[name].ask("ready")  # one after the other: compiling is work
            steps: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for _ in range(-(-options.images // options.batch_size)):
                for name, worker in workers.items():
                    steps[name].append(worker.ask("step"))
            ends = {name: worker.ask("end") for name, worker in workers.items()}
        finally:
            for worker in workers.values():
                worker.stop()
    results = {}
    for name, taken in steps.items():
        seconds = statistics.median(step["seconds"] for step in taken)
        results[name] = ends[name] | {
            # The median: other work on the machine only ever adds.
            "images_per_second": options.batch_size / seconds,
            "losses": [step["loss"] for step in taken],
        }
    return results


def main(arguments: list[str] | None = None) -> int:
    """Measure all variants, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", default="ir_101")
    parser.add_argument(
        "--images",
        type=command.at_least(1),
        default=32,
        help="rounded up to whole batches",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch_size", type=command.at_least(1), default=8)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=list(TRAINED))
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    if "PyTorch" in options.sides and importlib.util.find_spec("torch") is None:
        if "JAX" not in options.sides:
            raise InputError(f"there is no PyTorch to measure: {command.TORCH}")
        say(f"left out, no PyTorch: {command.TORCH} to measure it")
        options.sides = ["JAX"]
    results = measure(options)

    from rich.table import Table

    title = f"{options.arch}, {options.dtype}, batches of {options.batch_size}"
    shown = Table(title=f"Fine-tuning: {title}")
    for heading in ("", "images/s", "peak memory MB", "features once, s"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        once = result["features_seconds"]
        shown.add_row(
            name,
            f"{result['images_per_second']:.2f}",
            f"{result['peak_memory_mb']:.0f}",
            "" if once is None else f"{once:.2f}",
        )
    console.print(shown)
    print(json.dumps(vars(options) | {"variants": results}))


if __name__ == "__main__":
    sys.exit(main())
