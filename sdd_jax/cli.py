"""What every command does with errors and with Ctrl-C: one line, and an exit status.

0 done, 1 refused or failed, 130 stopped with Ctrl-C, 143 with SIGTERM. What nobody
foresaw keeps its traceback.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from sdd_jax.errors import InputError, Stopped
from sdd_jax.screen import say_error

_MEMORY = (
    "memory is full: choose a smaller batch_size of the mode "
    "(--config.train.batch_size, --config.eval.batch_size and so on), or train with "
    "--config.train.remat=True"
)


def run(work: Callable[[], Any], *, stopped: str, way_out: str) -> int:
    """Do the work; return the exit status, after one line on what went wrong.

    Args:
        work: it all; may return an exit status.
        stopped: the line after Ctrl-C.
        way_out: the end of the line where a file cannot be read or written.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    quiet_libraries()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    hook = sys.unraisablehook
    interrupts = _listen_for_interrupts()
    try:
        status = work()
    except BaseException as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Stopped):
            return _fail(str(error), _TERMINATED)
        if interrupts or isinstance(error, KeyboardInterrupt):
            by_term = interrupts[:1] == [signal.SIGTERM]
            # Whatever a library made of it.
            return _fail(stopped, _TERMINATED if by_term else 130)
        line = reason(error)
        if line is None:
            raise
        return _fail(f"{line}; {way_out}" if isinstance(error, OSError) else line)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return status if isinstance(status, int) else 0


def reason(error: BaseException) -> str | None:
    """Return what went wrong, in a line; None where nobody foresaw it."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"the machine's {_MEMORY}"
    if "RESOURCE_EXHAUSTED" in str(error):
        return f"the device's {_MEMORY}"
    if isinstance(error, OSError):
        why = error.strerror or str(error) or type(error).__name__
        return f"cannot read or write {error.filename or 'a file'}: {why}"
    return None


def quiet_libraries() -> None:
    """Keep libraries from printing what the program says itself, in one line."""
    # Orbax logs, with many traces, what it raises as well, and leaves what it had begun
    # to Python to complain about. Pillow complains of damage that `decoding` names, and
    # of remarks beside an image that it reads all the same.
    for name in ("absl", "asyncio", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    warnings.filterwarnings("ignore", module=r"PIL\.")


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
_TERMINATED = 128 + signal.SIGTERM


def _listen_for_interrupts() -> list[int]:
    """Make Ctrl-C stop the program wherever it strikes; return the signals so far.

    Raised inside a library's callback, such as JAX's at every garbage collection, the
    exception is dropped or becomes another. So it is raised again until it is on its
    way out, and from then on no second one disturbs the tidying up.
    """
    signals: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        signals.append(number)
        handled = sys.exc_info()[1]
        if handled and frame and frame.f_code is run.__code__:
            return  # `run` has it, whatever it became on the way
        while handled and not isinstance(handled, KeyboardInterrupt):
            handled = handled.__cause__ or handled.__context__
        if handled is None:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            raise KeyboardInterrupt

    def report(dropped: Any) -> None:
        if not signals:  # what was begun and broken off may not even tidy up
            sys.__unraisablehook__(dropped)

    for number in _SIGNALS:
        signal.signal(number, interrupt)
    sys.unraisablehook = report
    return signals


def _fail(message: str, status: int = 1) -> int:
    say_error(message)
    return status
