"""A parent for one of several processes, which says so where it dies without a word.

When process 0 is lost, JAX takes the others down at once, with a trace from C++, and
what a killed process had to say nobody hears. So a command that is one of several runs
in a child: the parent waits, passes signals on, and says in one line how it ended. What
libraries print past Python goes to a file, which is kept where the child did not end by
itself.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdd_jax.screen import say_error

_CHILD = "SDD_JAX_CHILD_OF"  # the parent's process number and the file, for the child


def is_child() -> bool:
    """Return whether a parent watches over this process."""
    return os.environ.get(_CHILD, "").partition(":")[0] == str(os.getppid())


def watch(name: str, goes_on: str) -> int:
    """Run this very command in a child; return its exit status.

    Args:
        name: what the line calls the child.
        goes_on: the end of the line: the way out.
    """
    number, file = tempfile.mkstemp(prefix="sdd_jax-", suffix=".log")
    os.close(number)
    environment = os.environ | {_CHILD: f"{os.getpid()}:{file}"}
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment)
    for passed_on in (signal.SIGINT, signal.SIGTERM):
        signal.signal(passed_on, lambda number, _: child.send_signal(number))
    status = child.wait()
    if status >= 0:
        Path(file).unlink(missing_ok=True)
        return status
    why, code = "", 1
    if status == -signal.SIGABRT:
        text = Path(file).read_bytes().decode("utf-8", "replace")
        why = why_jax_ended_it(text, goes_on)
    if not why:
        why = f"was ended by {signal.Signals(-status).name}; {goes_on}"
        code = 128 - status
    say_error(f"{name} {why}; what libraries said is in {file}")
    return code


START_ALL = "start all again, with one --coordinator and --num_processes, and each "
START_ALL += "with a --process_id of its own"
_TIME = "or give them more --start_seconds"


def why_jax_ended_it(text: str, goes_on: str) -> str:
    """Return what JAX's last words mean; nothing where they are of something else.

    Args:
        text: the words.
        goes_on: the way out of what was begun.
    """
    missing = re.search(
        r"Wait_for_all_tasks.*timed out task names:\s*((?:\d+\s+)+)", text, re.S
    )
    if missing:
        names = ", ".join(sorted(missing[1].split(), key=int))
        return f"ended: process {names} did not begin in time; {START_ALL}, {_TIME}"
    if "a newer incarnation" in text:
        return f"ended: another process has its --process_id too; {START_ALL}"
    if "RegisterTask" in text:
        return f"ended: process 0 was not found at --coordinator; {START_ALL}, {_TIME}"
    if "JAX distributed service detected fatal errors" in text:
        lost = "process 0 is gone, or heard nothing of this one for too long"
        return f"ended: {lost}; {goes_on}"
    return ""


def begin_as_child(lost: Callable[[], Any]) -> None:
    """Send what libraries print to the parent's file; end where the parent is gone.

    Args:
        lost: what to do then.
    """
    parent, _, file = os.environ[_CHILD].partition(":")
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        own = os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace")
        setattr(sys, name, own)
    # Opened for appending twice over: both write to the end.
    target = os.open(file, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)

    def watch_parent() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        with contextlib.suppress(Exception):
            lost()
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()
