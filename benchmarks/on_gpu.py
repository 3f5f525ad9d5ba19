"""All that is measured on one GPU, step after step, in ten minutes and one command.

    benchmarks/on_gpu.sh [--out=runs/on_gpu] [--workdir=runs/orl] [--rehearse]

or python -m benchmarks.on_gpu. Needs a GPU and JAX with CUDA, and no network. Each
step is a process of its own with a time limit; what one leaves over, the next may use.
A step that fails or is cut off is recorded with its last line, and the rest goes on.

    tests         the quick tests of models, saliency and faithfulness
    metrics       the embedded default's on this device and on the CPU
    explain_eval  IR-101, float32 and bfloat16: images/s, share of the chip's peak
    training      a step of IR-101
    pytorch       explaining and evaluating in PyTorch, where it has CUDA
    kernels       the ten that take longest, and what bounds them

In --out, which is the environment's OUT where that is set, come on_gpu.json and the
table, on_gpu.md, written again with every row, and what the steps printed, on_gpu.log.
--rehearse does it all on a CPU with tiny networks: its figures mean nothing. The exit
status is 1 where a step failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.gpu import report as reports
from sdd_jax import files, screen
from sdd_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TEST_FOLDERS = ("tests/faithfulness", "tests/saliency", "tests/models")


@dataclass(frozen=True)
class Step:
    """Commands, one after the other, that print rows; and the seconds they have."""

    name: str
    seconds: float
    commands: tuple[tuple[str, ...], ...]


def plan(options: argparse.Namespace) -> list[Step]:
    """Return the steps; all of them and the look at the device take ten minutes."""
    if options.rehearse:
        arch, batch, size = "--arch=ir_tiny", "--batch_size=4", "--images=8"
        batches, images, repeats = "4", {"bfloat16": 8, "float32": 8}, "--repeats=1"
        tests: tuple[str, ...] = ("tests/faithfulness/test_metrics.py",)
        metrics = ("--drawn",)
        training, pytorch = (arch, batch, "--steps=1"), (batch, size, "--device=cpu")
    else:
        arch, batch, size = "--arch=ir_101", "--batch_size=256", "--images=1024"
        batches, images = "64,256,1024", {"bfloat16": 4096, "float32": 1024}
        repeats, tests, metrics = "--repeats=2", TEST_FOLDERS, ()
        training, pytorch = (arch, "--batch_size=64"), (batch, size, "--device=cuda")

    def python(module: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", module, *arguments)

    def gpu(name: str, *arguments: str) -> tuple[str, ...]:
        return python(f"benchmarks.gpu.{name}", *arguments)

    quick = "-q", "--tb=line", "-rf", "-m", "not slow"
    metrics = (f"--workdir={options.workdir}", *metrics)
    explain_eval = tuple(
        gpu(
            *("explain_eval", arch, repeats, f"--dtype={dtype}"),
            *(f"--batch_sizes={batches}", f"--images={number}"),
        )
        for dtype, number in images.items()
    )
    both = gpu("metrics", *metrics), gpu("metrics", *metrics, "--platform=cpu")
    return [
        Step("tests", 85, tuple(python("pytest", *quick, name) for name in tests)),
        Step("metrics", 80, both),
        Step("explain_eval", 200, explain_eval),
        Step("training", 80, (gpu("training", *training),)),
        Step("pytorch", 45, (gpu("pytorch", arch, repeats, *pytorch),)),
        Step("kernels", 50, (gpu("kernels", arch, batch),)),
    ]


def run_command(
    words: tuple[str, ...],
    seconds: float,
    log: Path,
    environment: dict[str, str],
    take: Callable[[dict[str, Any]], None],
) -> tuple[str, str]:
    """Run a command, hand its rows over as they come; return its outcome and last line.

    Args:
        words: the command.
        seconds: it is stopped after so many.
        log: what it prints is added to this file.
        environment: its variables.
        take: gets every row.
    """
    began, last_line = time.monotonic(), "it printed nothing"
    with (
        log.open("a", buffering=1) as file,
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        ) as process,
    ):
        file.write(f"$ {' '.join(words)}\n")
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout
            for line in process.stdout:
                file.write(line)
                if row := _row(line):
                    take(row)
                elif line.strip():
                    last_line = screen.printable(line.strip())
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
    if status and time.monotonic() - began >= seconds:
        return "failed", f"cut off after {seconds:.0f} s; before: {last_line}"
    return ("failed" if status else "done"), last_line


def _row(line: str) -> dict[str, Any] | None:
    """Return what a line of JSON says; None for any other line."""
    try:
        return json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None


def run_step(
    step: Step,
    seconds: float,
    log: Path,
    environment: dict[str, str],
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Return what a step found; save it with every row, too."""
    began = time.monotonic()
    result: dict[str, Any] = {"outcome": "done", "last_line": "", "rows": []}

    def take(row: dict[str, Any]) -> None:
        result["rows"].append(row)
        result["seconds"] = time.monotonic() - began
        save(result | {"outcome": "not finished"})

    for words in step.commands:
        left = max(0.0, seconds - (time.monotonic() - began))
        outcome, line = run_command(words, left, log, environment, take)
        if step.name == "tests":
            take({"folder": words[-1], "outcome": outcome, "last_line": line})
        if outcome != "done":
            result |= {"outcome": outcome, "last_line": line}
    result["seconds"] = time.monotonic() - began
    reasons = [row["left_out"] for row in result["rows"] if "left_out" in row]
    if reasons:
        result |= {"outcome": "left out", "last_line": reasons[0]}
    if step.name == "metrics":
        result["largest_differences"] = reports.largest_differences(result["rows"])
    return result


def find_device(log: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return the row of `benchmarks.gpu.device`; InputError where there is none."""
    found: list[dict[str, Any]] = []
    words = (sys.executable, "-m", "benchmarks.gpu.device")
    outcome, line = run_command(words, 30, log, environment, found.append)
    if outcome != "done" or not found:
        raise InputError(f"JAX finds no device to compute on ({line}): see {log}")
    return found[0]


def main(arguments: list[str] | None = None) -> int:
    """Run all steps, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--out", default=os.environ.get("OUT") or "runs/on_gpu")
    parser.add_argument("--workdir", default="runs/orl", help="of configs/orl.py")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    folder = files.expanded(options.out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock(folder / ".lock", of=folder), tempfile.TemporaryDirectory() as kept:
        # Of the steps, several want the same programs.
        environment = {"JAX_COMPILATION_CACHE_DIR": kept} | os.environ
        environment["PYTHONUNBUFFERED"] = "1"
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if options.rehearse:
            environment["JAX_PLATFORMS"] = "cpu"
            environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        log = folder / "on_gpu.log"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        device = find_device(log, environment)
        if device["platform"] != "gpu" and not options.rehearse:
            raise InputError(
                f"JAX computes on {device['kind']}, which is no GPU: expected one, and "
                f"pip install 'jax[cuda12]'; or try it all out with --rehearse"
            )
        report = {"rehearsal": options.rehearse, "device": device, "steps": {}}

        def save(name: str, result: dict[str, Any]) -> None:
            report["steps"][name] = result
            files.write_json(folder / "on_gpu.json", report)
            table = reports.markdown(report)
            files.write_bytes(folder / "on_gpu.md", table.encode())

        ends = time.monotonic() - began
        for step in plan(options):
            ends += step.seconds
            seconds = ends - (time.monotonic() - began)
            screen.say(f"{step.name}: at most {seconds:.0f} s")
            result = run_step(
                *(step, seconds, log, environment),
                lambda found, name=step.name: save(name, found),
            )
            save(step.name, result | {"limit_seconds": seconds})
    print(reports.markdown(report))
    print(json.dumps({"out": str(folder), "steps": _outcomes(report)}))
    failed = [name for name, it in _outcomes(report).items() if it == "failed"]
    if failed:
        raise InputError(
            f"failed: {', '.join(failed)}; the table says with what, the rest stands; "
            f"all that they printed is in {log}"
        )


def _outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {name: step["outcome"] for name, step in report["steps"].items()}


if __name__ == "__main__":
    sys.exit(main())
