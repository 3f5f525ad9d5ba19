"""What every benchmark is as a command: its options, and one line where it must end.

Nothing here imports JAX: a process's peak memory begins with what its parent had.
"""

import argparse
import importlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from rich.table import Table

from sdd_jax import cli
from sdd_jax.errors import InputError
from sdd_jax.screen import console

TORCH = "pip install torch==2.13.0"


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser without options; the module's documentation is its help."""
    return argparse.ArgumentParser(
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(work: Callable[[], Any]) -> int:
    """Do the work, and return the exit status after one line on what went wrong."""
    return cli.run(
        work,
        stopped="stopped; nothing was measured to the end",
        way_out="make room, or choose another place",
    )


def show_ways(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, title: str, less: str
) -> None:
    """Print a table of identities, way and the named numbers, and last a JSON line.

    Args:
        rows: `failed` is in those that could not be measured.
        names: of the numbers, in the columns' order.
        title: of the table.
        less: what to choose less of where every row failed.

    Raises:
        InputError: every row failed.
    """
    if all("failed" in row for row in rows):
        raise InputError(
            f"no row could be measured, and the lines above say why: choose fewer "
            f"{less}"
        )
    shown = Table(title=title)
    for heading in ("identities", "way", *names):
        shown.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{row[name]:,.1f}" if name in row else "failed" for name in names]
        shown.add_row(f"{row['identities']:,}", row["way"], *cells)
    console.print(shown)
    print(json.dumps(rows))


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads an option that is a whole number, not below the least."""

    def number(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"found {text!r}, expected a whole number, at least {least}"
            )
        return value

    return number


def numbers(least: int) -> Callable[[str], list[int]]:
    """Return what reads an option of whole numbers with commas between."""
    return lambda text: [at_least(least)(each) for each in text.split(",")]


def required(module: str, how_to_get_it: str) -> ModuleType:
    """Return a module that not every machine has.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # or a library that it loads
        raise InputError(
            f"this needs {module}, which cannot be imported ({error}): {how_to_get_it}"
        ) from error


def require_compiler() -> None:
    """Raise InputError where torch.compile would find no C++ compiler."""
    known = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
    if not any(name and shutil.which(name) for name in known):
        raise InputError(
            "--compile needs a C++ compiler, and there is none: install g++, or name "
            "yours in the environment variable CXX, or leave --compile out"
        )
