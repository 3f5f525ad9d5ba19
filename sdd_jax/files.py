"""Files: whole or not at all, in one process's hands, JSON by the line.

Paths and names may hold bytes that are no text, and characters that end a line in some
programs' eyes: they come back as they went in. All text is UTF-8; a byte order mark,
which some editors put in front, is passed over.
"""

import contextlib
import datetime
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.screen import say

# What a library may take for a pattern or for an address, and what is no text.
_SPECIAL = re.compile(r"[][{}*?:\\\x00-\x1f\ud800-\udfff]")


def expanded(path: str | Path) -> Path:
    """Return a path with ~ or ~user at its beginning replaced by that home.

    A file that is really called so, such as "~notes.jpg", is taken where nobody is.

    Raises:
        InputError: nobody is called so, or nobody knows where the home is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if exists(path):
            return Path(path)
        raise InputError(
            f"{path}: there is no home folder for {Path(path).parts[0]}; expected ~ or "
            f"~USER with a user of this machine, or write the path out"
        ) from error


def exists(path: str | Path) -> bool:
    """Return whether there is such a file or folder; what can be no path is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, no right to look, or a zero byte in it
        return False


def read_text(path: Path) -> str:
    """Return a text file's contents."""
    return path.read_bytes().decode("utf-8-sig", "surrogateescape")


def parsed(text: str | bytes) -> Any:
    """Return what JSON says; ValueError where it is damaged, however it is."""
    try:
        return json.loads(text)
    except RecursionError as error:  # thousands of brackets, one in another
        raise ValueError("lists in lists, too deep to be read") from error


def rows_of(text: str) -> list[Any]:
    """Return what the lines of a text of JSON lines hold; ValueError where damaged."""
    # Not `splitlines`: for it a line also ends at U+2028 and at seven other characters
    # that JSON takes for plain text.
    return [parsed(line) for line in text.split("\n") if line.strip()]


def line_of(row: Any) -> str:
    """Return a value as a line of JSON, its end included."""
    return _json(row) + "\n"


def _json(value: Any, **options: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, **options)
    # What is no text, or would end a line for other readers, is written as \uXXXX.
    breaks = len(text.splitlines()) > text.count("\n") + 1
    if breaks or not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return json.dumps(value, **options)
    return text


def json_sha256(value: Any) -> str:
    """Return a hash of what JSON can say, whatever the order of its names."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or whole."""
    fresh = path.with_name(f".{path.name}-new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs; NaN, which JSON lacks, is an error."""
    text = _json(value, indent=2, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, one a row."""
    write_bytes(path, "".join(line_of(row) for row in rows).encode())


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as a compressed .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes `folder`'s place once all is in it.

    Until then, and if anything goes wrong, what was there stays.
    """
    fresh, old = (folder.with_name(f".{folder.name}-{x}") for x in ("new", "old"))
    _put_back(old, folder)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    finally:
        _put_back(old, folder)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _put_back(old: Path, folder: Path) -> None:
    """Undo a replacement that was cut short between its two moves."""
    if old.exists() and not folder.exists():
        os.replace(old, folder)


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Give a path to a folder that libraries in C++ can take, whatever it is called.

    They look for patterns and addresses in a path, [a-z], gs: and the like, and want it
    to be text. A folder that is called so is reached through a link.

    Raises:
        InputError: the folder for temporary files is called so as well.
    """
    folder = folder.absolute()
    if not _SPECIAL.search(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sdd_jax-") as temporary:
        link = Path(temporary).absolute() / "link"
        if _SPECIAL.search(str(link)):
            raise InputError(
                f"{folder} and the folder for temporary files, {link.parent.parent}, "
                f"have signs in their names that a library takes for a pattern: rename "
                f"one, or set TMPDIR to a folder without any of [ ] {{ }} * ? : \\"
            )
        link.symlink_to(folder, target_is_directory=True)
        yield link


@contextlib.contextmanager
def lock(file: Path, *, of: Path) -> Iterator[None]:
    """Keep every other process from what a file stands for, while in the context.

    The system takes the lock away from a process that ends, however it ends: what a
    killed one left behind stops nobody. Folders that are made for the file and hold
    nothing else in the end are removed again.

    Args:
        file: made and removed; hidden, in or beside what is locked.
        of: what the error calls busy.

    Raises:
        InputError: another process has it; the message says which.
    """
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # which is not what a person calls it
        number = errno.ENOTDIR
        raise OSError(number, os.strerror(number), error.filename) from error
    handle = _locked(file, of)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_this_process()).encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(handle)
        with contextlib.suppress(OSError):  # something was put there
            for folder in made:
                folder.rmdir()


def _locked(file: Path, of: Path) -> int:
    """Return the open and locked file."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed this very file meanwhile.
            if os.path.samestat(os.fstat(handle), os.stat(file)):
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                if error.errno in (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
                    say(
                        f"the file system of {of} has no locks: use one command at once"
                    )
                    return handle
                os.close(handle)
                raise
            who = _holder(handle)
            os.close(handle)
            raise InputError(
                f"{of} is in use by {who}: wait until it has ended, stop it, or choose "
                f"another folder"
            ) from error
        os.close(handle)


def _this_process() -> dict[str, Any]:
    now = datetime.datetime.now().astimezone()
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(sys.argv),
        "since": now.isoformat(" ", "seconds"),
    }


def _holder(handle: int) -> str:
    """Return which process has a lock, as it wrote there."""
    content = b""
    for _ in range(40):  # it may have just begun
        content = os.pread(handle, 10_000, 0)
        if content:
            break
        time.sleep(0.05)
    try:
        it = json.loads(content)
        return (
            f"process {it['pid']} on {it['host']}, since {it['since']} "
            f"({it['command'][:200]})"
        )
    except (ValueError, KeyError, TypeError):
        return "another process"
