"""Begin and end as one of several processes: all together, or all with a line why not.

A process that fails says so, and one that does not answer any more is missed after
HEARTBEAT_SECONDS: then every other one ends, with a line that names it. Threads see to
that: a process that waits for a device in another one hears nothing else.
"""

import contextlib
import dataclasses
import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax._src import distributed as _service

from sdd_jax import checks, cli, supervision
from sdd_jax.distributed import (
    GOES_ON,
    barrier,
    client,
    count,
    index,
    is_first,
    keep_sigterm,
    name_of,
    require_same,
)
from sdd_jax.errors import InputError
from sdd_jax.screen import printable, say, say_error

START_SECONDS = 300  # until all have begun
HEARTBEAT_SECONDS = 30  # without an answer: then a process counts as gone
_SECONDS = checks.whole(1, 7 * 24 * 3600)
_LATER = 10  # seconds that a process waits longer than the service

_ending = threading.Event()
_lost: set[int] = set()


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a command line says of several processes."""

    coordinator: str | None  # HOST:PORT of process 0
    num_processes: int | None
    process_id: int | None  # which of them this is, from 0
    # JAX finds the three out by itself: Slurm, a TPU VM, Kubernetes.
    distributed: bool = False
    start_seconds: int = START_SECONDS  # how long all may take to begin
    heartbeat_seconds: int = HEARTBEAT_SECONDS  # how long one may be silent

    def are_several(self) -> bool:
        """Return whether there are several; InputError where it is unclear."""
        for name in ("start_seconds", "heartbeat_seconds"):
            checks.require(getattr(self, name), _SECONDS, f"--{name}")
        three = "coordinator", "num_processes", "process_id"
        given = [f"--{name}" for name in three if getattr(self, name) is not None]
        if self.distributed and given:
            raise InputError(
                f"found {' and '.join(given)} beside --distributed, which finds out "
                f"all three by itself: leave it out, or leave --distributed out"
            )
        if not given:
            return self.distributed
        if len(given) < len(three):
            raise InputError(
                f"found {' and '.join(given)} alone, but of --coordinator, "
                f"--num_processes and --process_id all three are needed; --distributed "
                f"finds them out on Slurm, a TPU VM and Kubernetes"
            )
        _check(self.coordinator, self.num_processes, self.process_id)
        return True


def run(asked: Asked, facts: Callable[[], Mapping[str, Any]], work: Any) -> int:
    """Do the work, as one of several processes where that is asked for.

    Must come before JAX is asked for devices.

    Args:
        asked: by the command line.
        facts: gives what all processes must have been started with, by name.
        work: without arguments.

    Returns:
        The exit status.

    Raises:
        InputError: what is asked for does not fit, not all processes began in time, or
            one was started with something else.
    """
    if not asked.are_several():
        work()
        return 0
    own = "this process" if asked.process_id is None else f"process {asked.process_id}"
    if not supervision.is_child():
        return supervision.watch(own, GOES_ON)
    supervision.begin_as_child(lambda: _leave(f"its command was killed; {GOES_ON}"))
    _start(asked)
    with _together(asked.heartbeat_seconds):
        started_with = {
            "--num_processes": asked.num_processes,
            "the number of devices": jax.local_device_count(),
        }
        require_same("the command", lambda: {**facts(), **started_with})
        work()
    return 0


def _start(asked: Asked) -> None:
    """Become one of several processes."""
    # Else the loss of one process takes the others down with a trace instead of a line.
    jax.config.update("jax_enable_recoverability", True)
    # JAX gives the service an hour: the others would end before it says who is missing.
    service = _service._jax.get_distributed_runtime_service
    in_time = functools.partial(service, cluster_register_timeout=asked.start_seconds)
    _service._jax.get_distributed_runtime_service = in_time
    keep_sigterm()
    where = asked.coordinator or "the cluster's address"
    say(f"waiting for all processes at {where}, up to {asked.start_seconds} s")
    try:
        jax.distributed.initialize(
            asked.coordinator,
            asked.num_processes,
            asked.process_id,
            initialization_timeout=asked.start_seconds + _LATER,
            heartbeat_timeout_seconds=asked.heartbeat_seconds,
            shutdown_timeout_seconds=asked.heartbeat_seconds,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(_why_not_started(error, asked.start_seconds)) from error
    finally:
        _service._jax.get_distributed_runtime_service = service
    try:
        client().key_value_set(f"host/{index()}", socket.gethostname())
    except jax.errors.JaxRuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise
        why = f"another process has --process_id={index()} too; {supervision.START_ALL}"
        _leave(why)
        raise InputError(why) from error
    for watch in (_watch_failures, _watch_lives):
        threading.Thread(target=watch, daemon=True).start()
    barrier("begin", seconds=asked.start_seconds)


_TAKEN = (
    "process 0 cannot listen at the port of --coordinator: another program does, or "
    "another process has --process_id=0 too; give each its own, or choose another port"
)


def _check(coordinator: Any, num_processes: Any, process_id: Any) -> None:
    checks.require(num_processes, checks.whole(1), "--num_processes")
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id is {process_id} of {num_processes} processes: expected 0 to "
            f"{num_processes - 1}, another one for each"
        )
    host, _, port = coordinator.rpartition(":")
    is_port = port.isdecimal() and 0 < int(port[:9]) < 1 << 16
    if not (host and is_port) or "/" in host:
        raise InputError(
            f"--coordinator is {coordinator!r}: expected HOST:PORT of process 0, such "
            f"as 10.0.0.1:7890, the same for all"
        )
    try:
        socket.getaddrinfo(host.strip("[]"), port)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--coordinator is {coordinator!r}, and no host is called {host}: expected "
            f"HOST:PORT of process 0"
        ) from error
    if process_id == 0:
        _require_free(int(port))


def _require_free(port: int) -> None:
    """Raise InputError where another program on this machine listens at a port.

    The service would share the port with another process 0, and each other process
    would come to one of the two.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(_TAKEN) from error


def _why_not_started(error: Exception, seconds: int) -> str:
    text = " ".join(str(error).split())
    if "should be defined" in text or "must be defined" in text:
        return (
            f"cannot tell which of several processes this is ({text}): pass "
            f"--coordinator=HOST:PORT --num_processes=N --process_id=I"
        )
    if "Failed to start RPC server" in text:
        return _TAKEN
    return (
        f"not all processes began within {seconds} s, or process 0 cannot be reached "
        f"({text[:200]}): start all of them, with one --coordinator and "
        f"--num_processes, or give them more time with --start_seconds"
    )


@contextlib.contextmanager
def _together(heartbeat_seconds: int) -> Iterator[None]:
    """End with the other processes: all well, or all with a line that says why not.

    What is raised inside is told to the others before it goes on.
    """
    try:
        yield
        barrier("end")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            # Mostly the end of another process, which is not known to be gone yet:
            # whoever watches ends this one, and names it.
            time.sleep(heartbeat_seconds + 2 * _LATER)
        _leave(str(error))
        raise
    except KeyboardInterrupt:
        _leave(f"stopped with Ctrl-C or SIGTERM; {GOES_ON}")
        raise
    except BaseException as error:
        _leave(cli.reason(error) or str(error) or type(error).__name__)
        raise
    _ending.set()
    barrier("all know")  # before one leaves, whom the others would miss
    if is_first():
        _wait_until_alone()
    jax.distributed.shutdown()


def _wait_until_alone() -> None:
    """Wait, for a while, until the others have left the service of this process."""
    limit = time.monotonic() + _LATER
    everybody = list(range(count()))
    while time.monotonic() < limit and len(client().get_live_nodes(everybody)) > 1:
        time.sleep(0.05)


def _leave(why: str) -> None:
    """Say why this process ends; the first one, whose service it is, leaves last."""
    _ending.set()
    service = client()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        service.key_value_set(f"failed/{index()}", printable(why)[:1000])
        if is_first():
            limit = time.monotonic() + HEARTBEAT_SECONDS
            while time.monotonic() < limit:
                left = service.key_value_dir_get("failed/")
                if len(left) == count() or len(left) + len(_lost) >= count():
                    break
                time.sleep(0.1)
            time.sleep(0.5)  # for the last one to be off the line


def _watch_failures() -> None:
    """End this process soon after another one said that it failed."""
    while not _ending.is_set():
        try:
            failed = client().key_value_dir_get("failed/")
        except (jax.errors.JaxRuntimeError, AttributeError):
            return  # the other watch sees it
        if failed:
            # Time to come to the same end by itself, with a better line.
            if _ending.wait(2):
                return
            key, why = failed[0]
            _end(f"{name_of(int(key.rpartition('/')[2]))} ended: {why}")
        time.sleep(0.5)


def _watch_lives() -> None:
    """End this process where another one does not answer any more."""
    everybody = list(range(count()))
    while True:
        try:
            alive = client().get_live_nodes(everybody)
            said = client().key_value_dir_get("failed/")
        except (jax.errors.JaxRuntimeError, AttributeError):
            return  # the service is gone: JAX ends this process by itself
        _lost.update(set(everybody) - set(alive))
        failed = {key.rpartition("/")[2] for key, _ in said}
        silent = [i for i in sorted(_lost) if str(i) not in failed]
        if silent and not _ending.is_set():
            names = ", ".join(map(name_of, silent))
            why = f"{names} does not answer: killed, stopped or cut off"
            if not {0, index()}.isdisjoint(silent):  # both are here
                why = "JAX takes for lost who is not: the clock of process 0's machine "
                why += "was set, or this process was stopped for a while"
            _end(f"{why}; {GOES_ON}")
        time.sleep(0.5)


def _end(line: str) -> None:
    """End this process at once: its main thread may wait for ever."""
    sys.stdout.flush()
    say_error(line)
    _leave(line)
    os._exit(1)
