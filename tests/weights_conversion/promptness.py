"""How long a reader of damaged files may take."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, read: Callable[[], T]) -> T:
    """Return what `read` returns, from a call that took less than so many seconds.

    Processor time: what other programs do on the machine is not the reader's. One of
    three calls must be as fast: in the others, Python may clear away what earlier
    tests left.
    """
    for _ in range(3):
        began = time.process_time()
        found = read()
        if time.process_time() - began < seconds:
            return found
    raise AssertionError(f"each of three calls took {seconds} s or more")
