"""What a reader may do with any input: take it, or refuse it in one line.

Found is everything else: another exception, a line that is no line, processor time or
memory beyond the bounds, and whatever a library prints or warns of where a command
would have shown it.
"""

import contextlib
import dataclasses
import logging
import logging.handlers
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from sdd_jax import cli
from sdd_jax.errors import InputError

SECONDS = 10.0
GIGABYTES = 2.5  # beyond what the program takes before it reads anything

_OURS = ("/sdd_jax/", "/weights_conversion/", "/main.py")
# What Python shows nobody but developers.
_UNSEEN = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that no input may cause."""

    kind: str  # the same for inputs that find the same
    text: str


class Bad(Exception):
    """A finding within a call that goes on after an image is refused."""

    def __init__(self, finding: Finding):
        """Keep the finding."""
        super().__init__(finding.text)
        self.finding = finding


def refusable(read: Callable[..., Any], *arguments: Any) -> None:
    """Do what may be refused, as whoever reads many does with each of them."""
    if found := judge(lambda: read(*arguments)):
        raise Bad(found)


def judge(read: Callable[[], Any]) -> Finding | None:
    """Return what is wrong with how an input is read, None where nothing is."""
    began = time.process_time()
    logged: list[logging.LogRecord] = []
    with _logged(logged), _printed() as printed, _warned() as warned:
        found = _refused_badly(read)
    if found:
        return found
    if (seconds := time.process_time() - began) > SECONDS:
        return Finding("slow", f"{seconds:.1f} s of processor time")
    for warning in warned:
        where = Path(warning.filename).name
        return Finding(f"warning of {where}", str(warning.message))
    for record in logged:
        return Finding(f"logged by {record.name}", record.getMessage())
    if text := b"".join(printed):
        return Finding("printed", ascii(text[:200]))
    return None


def _refused_badly(read: Callable[[], Any]) -> Finding | None:
    try:
        read()
    except InputError as error:
        if isinstance(error.__cause__, MemoryError):  # `decoding` refuses it
            return Finding(f"memory in {_place(error)}", f"more than {GIGABYTES} GB")
        if "\n" in (text := str(error)):
            return Finding(f"no one line in {_place(error)}", ascii(text[:200]))
    except MemoryError as error:
        return Finding(f"memory in {_place(error)}", f"more than {GIGABYTES} GB")
    except Bad as error:
        return error.finding
    except OSError:
        return None  # `cli.run` makes it one line
    except (Exception, SystemExit) as error:
        kind = f"{type(error).__name__} in {_place(error)}"
        return Finding(kind, ascii(" ".join(str(error).split())[:200]))
    return None


def _place(error: BaseException) -> str:
    """Return the innermost place of the project's own that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(part in f.filename for part in _OURS)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


@contextlib.contextmanager
def _warned() -> Generator[list[warnings.WarningMessage]]:
    """Record the warnings that a command would show."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for category in _UNSEEN:
            warnings.simplefilter("ignore", category)
        cli.quiet_libraries()
        yield warned


@contextlib.contextmanager
def _logged(records: list[logging.LogRecord]) -> Generator[None]:
    """Record what libraries log and nobody has asked for, which Python prints."""
    handler = logging.handlers.BufferingHandler(1000)
    handler.setLevel(logging.WARNING)
    handler.buffer = records
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


@contextlib.contextmanager
def _printed() -> Generator[list[bytes]]:
    """Record what libraries in C write to the standard error."""
    kept, printed = os.dup(2), []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            printed.append(file.read())
