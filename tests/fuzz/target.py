"""One thing that reads what others wrote: good inputs, and the call that reads one."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mutations import Mutation, of_bytes


@dataclasses.dataclass(frozen=True)
class Target:
    """What is fuzzed."""

    name: str
    seeds: Callable[[], list[bytes]]  # [] where a package is not installed
    # An input and a folder of its own; what lies in the folder was its earlier calls'.
    read: Callable[[bytes, Path], Any]
    mutate: Mutation = of_bytes


def drawn(target: Target, number: int, seed: int) -> Iterator[bytes]:
    """Yield the good inputs and so many mutated ones, the same for a seed."""
    draw, seeds = random.Random(f"{target.name} {seed}"), target.seeds()
    yield from seeds
    for _ in range(number if seeds else 0):
        yield target.mutate(draw.choice(seeds), draw, seeds)
