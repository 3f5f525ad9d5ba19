"""Several processes of one command on this machine, and what becomes of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HEARTBEAT_SECONDS = 10  # JAX takes less for a mistake
START_SECONDS = 60
# A process that learns of another's end by silence alone, and what it then tidies up.
MOST_SECONDS = 2 * HEARTBEAT_SECONDS + 15


class Group:
    """Processes of one command; each its own session, as on machines of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        count: int,
        devices: int,
        environment: Mapping[str, str],
        own: Mapping[int, Sequence[str]] | None = None,
        program: Sequence[str] = (str(ROOT / "main.py"),),
        programs: Mapping[int, Sequence[str]] | None = None,
    ):
        """Start them.

        Args:
            arguments: of all.
            count: how many; of one, no word of several is said.
            devices: virtual ones, a process.
            environment: of all.
            own: more arguments, by the process.
            program: what Python runs.
            programs: what it runs instead, by the process.
        """
        environment = {**environment, "JAX_NUM_CPU_DEVICES": str(devices)}
        several = [
            f"--coordinator=localhost:{free_port()}",
            f"--num_processes={count}",
            f"--heartbeat_seconds={HEARTBEAT_SECONDS}",
            f"--start_seconds={START_SECONDS}",
        ]
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, *(programs or {}).get(i, program), *arguments),
                    *((*several, f"--process_id={i}") if count > 1 else ()),
                    *((own or {}).get(i, ())),
                ],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            for i in range(count)
        ]

    def kill(self, which: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process and all that it has started."""
        os.killpg(self.processes[which].pid, number)

    def ended(
        self, seconds: float = 300, but: Sequence[int] = ()
    ) -> list[tuple[int, str, str]]:
        """Return each one's status, output and errors; TimeoutExpired where it hangs.

        Args:
            seconds: how long to wait, for all.
            but: processes that are not waited for.
        """
        limit = time.monotonic() + seconds
        found = []
        for i, process in enumerate(self.processes):
            if i not in but:
                left = max(1.0, limit - time.monotonic())
                out, err = process.communicate(timeout=left)
                found.append((process.returncode, out, err))
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


def after(code: str) -> Sequence[str]:
    """Return what Python runs: some code, and then main.py."""
    main = str(ROOT / "main.py")
    run = f"import runpy, sys; sys.argv[0] = {main!r}; "
    run += f"runpy.run_path({main!r}, run_name='__main__')"
    return "-c", f"{code}\n{run}"


def assert_all_ended_with(ended: Sequence[tuple[int, str, str]], *parts: str) -> None:
    """Fail where not every process ended with one line that has the parts."""
    for status, _, errors in ended:
        assert status == 1
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        for part in parts:
            assert part in errors


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def wait_until(condition: Any, seconds: float = 120) -> None:
    """Wait until something is so; TimeoutError where it never is."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError("it did not come about")
        time.sleep(0.05)
