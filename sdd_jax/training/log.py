"""What a person sees of training, and what is left of it afterwards.

`metrics.jsonl` has a line for every step and for every validation, TensorBoard's event
file has the same numbers. Going on after an interruption removes the lines of the steps
that are taken again.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sdd_jax import distributed, files


class TrainingLog:
    """Writes each number to the screen, to JSON lines and to TensorBoard."""

    def __init__(
        self,
        lines: IO[str],
        events: Any,  # a SummaryWriter
        progress: Progress,
        *,
        num_steps: int,
        start_step: int,
        batch_size: int,
    ):
        """Take open outputs; see `open_log`."""
        self._lines, self._events, self._progress = lines, events, progress
        self._num_steps, self._batch_size = num_steps, batch_size
        self._task = progress.add_task("", total=num_steps, completed=start_step)
        self._last = (start_step, time.monotonic())

    def _write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        self._lines.write(json.dumps({"step": step, "kind": kind, **numbers}) + "\n")
        for name, value in numbers.items():
            self._events.add_scalar(f"{kind}/{name}", value, step)

    def train(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log one step's loss and accuracy."""
        self._write(step, "train", numbers)

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        """Move the progress bar; the rate is since the last call."""
        before, then = self._last
        now = time.monotonic()
        rate = (step - before) * self._batch_size / max(now - then, 1e-9)
        self._last = (step, now)
        self._events.add_scalar("train/images_per_second", rate, step)
        text = (
            f"step {step}/{self._num_steps}  loss {numbers['loss']:.4f}  "
            f"accuracy {100 * numbers['accuracy']:5.1f} %  {rate:,.0f} images/s"
        )
        self._progress.update(self._task, completed=step, description=text)
        if not self._progress.console.is_terminal:
            self._progress.console.print(text)

    def validation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log a validation's loss and accuracy."""
        self._write(step, "validation", numbers)
        self._progress.console.print(
            f"step {step}/{self._num_steps}  validation: loss {numbers['loss']:.4f}  "
            f"accuracy {100 * numbers['accuracy']:.1f} %"
        )


def _keep_until(path: Path, step: int) -> None:
    """Drop the lines after a step, and a last line that was cut short."""
    kept = []
    for line in files.read_text(path).split("\n") if path.exists() else []:
        try:
            if files.parsed(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    files.write_bytes(path, "".join(kept).encode())


@contextlib.contextmanager
def open_log(
    workdir: Path,
    console: Console,
    *,
    num_steps: int,
    start_step: int,
    batch_size: int,
) -> Iterator[TrainingLog]:
    """Open a log that goes on after `start_step`; the first process's is kept."""
    with contextlib.ExitStack() as stack:
        if not distributed.is_first():
            workdir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield stack.enter_context(
            _opened(workdir, console, num_steps, start_step, batch_size)
        )


@contextlib.contextmanager
def _opened(
    workdir: Path, console: Console, num_steps: int, start_step: int, batch_size: int
) -> Iterator[TrainingLog]:
    path = workdir / "metrics.jsonl"
    _keep_until(path, start_step)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    # It loads PyTorch where that is installed: seconds, for training alone.
    from tensorboardX import SummaryWriter

    events = SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)
    # By the line, so that none is missing where a checkpoint is not.
    with path.open("a", buffering=1) as lines, progress:
        try:
            yield TrainingLog(
                lines,
                events,
                progress,
                num_steps=num_steps,
                start_step=start_step,
                batch_size=batch_size,
            )
        finally:
            events.close()
