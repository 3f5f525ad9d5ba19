import os
import signal
import sys

import pytest

from sdd_jax import cli
from sdd_jax.errors import InputError


def run(work) -> int:
    return cli.run(work, stopped="stopped; go on", way_out="make room")


def fail(error: BaseException):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("found a\nb \udcff [red]"), "found a\\nb \\udcff [red]"),
        (
            OSError(28, "No space left on device", "/a/b"),
            "cannot read or write /a/b: No space left on device; make room",
        ),
        (OSError("odd"), "cannot read or write a file: odd; make room"),
        (MemoryError("9 EiB"), "the machine's memory is full: choose a smaller "),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 bytes"), "the device's memory is full: "),
    ],
)
def test_what_went_wrong_is_one_line(capsys, error, line):
    assert run(fail(error)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1


def test_what_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_what_is_done_is_0(capsys):
    assert run(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_is_one_line_and_130_even_if_a_library_makes_something_else_of_it(
    capsys,
):
    before = signal.getsignal(signal.SIGINT)

    def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ValueError("a library failed") from error

    assert run(work) == 130
    assert capsys.readouterr().err == "error: stopped; go on\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_what_breaks_while_tidying_up_after_ctrl_c_says_nothing(capsys):
    class Broken:
        def __del__(self):
            raise AttributeError("half made")

    def work():
        broken = Broken()
        os.kill(os.getpid(), signal.SIGINT)
        del broken

    hook = sys.unraisablehook
    assert run(work) == 130
    assert capsys.readouterr().err == "error: stopped; go on\n"
    assert sys.unraisablehook is hook
