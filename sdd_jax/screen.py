"""What a person reads while a program runs: lines, tables, progress.

Whatever a name or a path holds, such as [brackets], :colons:, the end of a line or
bytes that are no text, it is shown as it is or escaped: never taken for a command.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import track

Item = TypeVar("Item")

_LONGEST = 4000  # characters; a path alone may have that many

console = Console(markup=False, emoji=False, highlight=False)
_logs: list[Path] = []


def printable(text: str) -> str:
    """Return a text on one line, with what cannot be shown written as an escape."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def one_line(text: str) -> str:
    """Return a text on one line that a person can read: the middle of a long one goes.

    What is wrong stands at its beginning, and the way out at its end.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return printable(text)


def first_of(items: Sequence[str], most: int = 3) -> str:
    """Return the first few items, with dots where there are more."""
    return ", ".join(items[:most]) + ", ..." * (len(items) > most)


def say(text: str) -> None:
    """Print one line, of any length."""
    console.print(one_line(text), soft_wrap=True)


def say_error(text: str) -> None:
    """Print the line that says what went wrong; it stands in a log as well."""
    line = f"error: {one_line(text)}"
    print(line, file=sys.stderr, flush=True)
    for path in _logs:
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
            print(line, file=file)


@contextlib.contextmanager
def log(path: Path, *, shown: bool) -> Iterator[None]:
    """Write to a file what is printed, and show it on the screen or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = console.file
    _logs.append(path)
    with path.open(
        "a", encoding="utf-8", errors="backslashreplace", buffering=1
    ) as file:
        console.file = cast(IO[str], _Both(before, file)) if shown else file
        try:
            yield
            _logs.remove(path)  # else the line about what went wrong is still to come
        finally:
            console.file = before


class _Both(io.TextIOBase):
    """A screen and a file: what is written to one is written to both."""

    def __init__(self, screen: IO[str], file: IO[str]):
        self._screen, self._file = screen, file

    def write(self, text: str) -> int:
        self._file.write(text)
        return self._screen.write(text)

    def flush(self) -> None:
        self._screen.flush()
        self._file.flush()

    def fileno(self) -> int:
        return self._screen.fileno()

    def isatty(self) -> bool:
        return self._screen.isatty()


def progress(items: Iterable[Item], text: str, *, total: int) -> Iterable[Item]:
    """Return the items, with a bar on a terminal that moves as they are taken."""
    return track(
        items,
        escape(printable(text)),
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def in_threads(
    work: Callable[[Any], Any], items: Sequence[Any], text: str
) -> list[Any]:
    """Return what becomes of each, in order; Ctrl-C waits for those in the works."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            done = pool.map(work, items)
            return list(progress(done, text, total=len(items)))
        finally:
            pool.shutdown(cancel_futures=True)
