"""Several processes that work as one: who they are, and where they wait for each other.

JAX's coordination service does the work. Process 0 scans, splits, writes and prints;
the others wait for it and read, so all of them must see the same files. Where there is
one process, nothing here waits for anything.

Every wait has its number, so all processes must come to the same waits in the same
order: what is decided from a file or a clock is decided by process 0 (`from_first`).
How they begin and end together is in `launch.py`.
"""

import contextlib
import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax

# No public function waits with a time limit, or says who is missing.
from jax._src import distributed as _service
from jax.experimental import multihost_utils

from sdd_jax.errors import InputError

Result = TypeVar("Result")

PATIENCE_SECONDS = 3600  # for a process that answers and does not come
GOES_ON = "the same commands, all started again, go on from what was finished"

_numbers = itertools.count()
_handlers: list[Any] = []  # of SIGTERM, before JAX took it


def index() -> int:
    """Return which process this is, from 0."""
    return jax.process_index()


def count() -> int:
    """Return how many processes there are."""
    return jax.process_count()


def is_first() -> bool:
    """Return whether this is process 0, which writes and prints."""
    return index() == 0


def name_of(process: int) -> str:
    """Return what messages call a process; its host is part of it once it is known."""
    host = _said(f"host/{process}") if client() else None
    return f"process {process} of {count()}" + (f" on {host}" if host else "")


def client() -> Any:
    """Return JAX's connection to the service in process 0, None where there is none."""
    return _service.global_state.client


def keep_sigterm() -> None:
    """Remember what SIGTERM does, before JAX takes it."""
    _handlers.append(signal.getsignal(signal.SIGTERM))


def hear_sigterm() -> None:
    """Make SIGTERM end this process, and so all of them: JAX took it for training."""
    for handler in _handlers:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def stops() -> Iterator[Callable[[int], bool]]:
    """Give a function of a step's number that says whether to stop after it: SIGTERM.

    For work that has a better place to stop than any. All of several processes must ask
    at every step, and get the same answer, whichever was told.
    """
    if count() > 1:  # JAX has taken the signal, and sees to it that they agree
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False  # signals are the main thread's
        return
    signals: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        yield lambda step: bool(signals)
    finally:
        signal.signal(signal.SIGTERM, before)


def _said(key: str) -> str | None:
    """Return what a process said, or None."""
    try:
        return client().key_value_try_get(key)
    except jax.errors.JaxRuntimeError:
        return None


def barrier(what: str, *, seconds: int = PATIENCE_SECONDS) -> None:
    """Wait until all processes have come here.

    Raises:
        InputError: one did not come in time; the message names it.
    """
    if count() == 1:
        return
    key = f"{next(_numbers)}/{what}"
    service = client()
    service.key_value_set(f"at/{key}/{index()}", "")
    try:
        service.wait_at_barrier(key, seconds * 1000)
    except jax.errors.JaxRuntimeError as error:
        came = [
            k.rpartition("/")[2] for k, _ in service.key_value_dir_get(f"at/{key}/")
        ]
        missing = [name_of(i) for i in range(count()) if str(i) not in came]
        if not missing:
            raise
        raise InputError(
            f"{', '.join(missing)} did not come to the wait called {what!r} within "
            f"{seconds} s, though it may be alive: look at its log; {GOES_ON}"
        ) from error


def from_first(what: str, make: Callable[[], Any]) -> Any:
    """Return what `make` gives process 0, on every process; as JSON.

    Where it fails there, the other processes end with its message.
    """
    if count() == 1:
        return make()
    key = f"first/{next(_numbers)}/{what}"
    if is_first():
        text = json.dumps(make())
        client().key_value_set(key, text)
        return json.loads(text)
    try:
        text = client().blocking_key_value_get(key, PATIENCE_SECONDS * 1000)
    except jax.errors.JaxRuntimeError as error:
        raise InputError(
            f"{name_of(0)} did not say {what!r} within {PATIENCE_SECONDS} s, though it "
            f"may be alive: look at its log; {GOES_ON}"
        ) from error
    return json.loads(text)


def first_then_all(what: str, work: Callable[[], Result]) -> Result:
    """Do a piece of work on process 0, then on the others, who find it done.

    For what reads files, and writes them where they are not there.
    """
    if not is_first():
        barrier(what)
        return work()
    result = work()
    barrier(what)
    return result


def require_same(what: str, facts: Callable[[], Mapping[str, Any]]) -> None:
    """Raise InputError, on every process, where not all have the same facts.

    Args:
        what: a word for the wait.
        facts: gives name -> what JSON can say; one process is not asked.
    """
    if count() == 1:
        return
    key = f"facts/{next(_numbers)}/{what}"
    service = client()
    service.key_value_set(f"{key}/{index()}", json.dumps(facts(), sort_keys=True))
    barrier(what)
    all_facts = [
        json.loads(service.blocking_key_value_get(f"{key}/{i}", 60_000))
        for i in range(count())
    ]
    for i, there in enumerate(all_facts):
        names = sorted(there.keys() | all_facts[0].keys())
        for name in names:
            here, first = there.get(name), all_facts[0].get(name)
            if here != first:
                raise InputError(
                    f"{name} is {here!r} in {name_of(i)} and {first!r} in process 0: "
                    f"start all processes with the same code, files and arguments"
                )
