"""What parts of a job took, on the clock and of all cores."""

import time
from collections.abc import Callable
from typing import Any


class Watch:
    """Seconds by what they were spent on: on the clock, and of all cores."""

    def __init__(self):
        """Start with none."""
        self.seconds: dict[str, tuple[float, float]] = {}

    def __call__(self, what: str, work: Callable[[], Any]) -> Any:
        """Do the work, add its seconds, and return what it gives."""
        began = time.perf_counter(), time.process_time()
        done = work()
        ended = time.perf_counter(), time.process_time()
        before = self.seconds.get(what, (0.0, 0.0))
        clock, cores = (
            old + end - start
            for old, start, end in zip(before, began, ended, strict=True)
        )
        self.seconds[what] = clock, cores
        return done

    def total(self) -> float:
        """Return all seconds on the clock."""
        return sum(seconds for seconds, _ in self.seconds.values())

    def times(self, clock: int) -> dict[str, float]:
        """Return the seconds by part, of all parts but the curves, and of all.

        Args:
            clock: 0 for the clock, 1 for all cores.
        """
        times = {what: each[clock] for what, each in self.seconds.items()}
        together = sum(times.values())
        return times | {"maps": together - times["curves"], "all": together}
