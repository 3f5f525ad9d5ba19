"""What one process can show of several; tests/failures has the rest."""

import os
import signal
import socket
import threading

import numpy as np
import pytest

from sdd_jax import distributed, launch, supervision
from sdd_jax.errors import InputError
from sdd_jax.launch import Asked
from sdd_jax.runs import store


def run(asked: Asked) -> list[str]:
    done = []
    assert launch.run(asked, dict, lambda: done.append("work")) == 0
    return done


def test_where_nothing_is_asked_for_the_work_is_done_here():
    assert run(Asked(None, None, None)) == ["work"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            Asked("[::1]:1", None, None),
            "^found --coordinator alone, but of --coordinator, --num_processes and ",
        ),
        (
            Asked(None, 2, 0),
            "^found --num_processes and --process_id alone, .* all three are needed; ",
        ),
        (
            Asked("[::1]:1", None, 0, distributed=True),
            "^found --coordinator and --process_id beside --distributed, which finds ",
        ),
        (Asked("[::1]:1", 0, 0), "^--num_processes is 0, expected a whole number from"),
        (
            Asked("[::1]:1", 2, 2),
            "^--process_id is 2 of 2 processes: expected 0 to 1, ",
        ),
        (
            Asked("[::1]:1", 2, -1),
            "^--process_id is -1 of 2 processes: expected 0 to 1",
        ),
        (Asked("a", 2, 0), "^--coordinator is 'a': expected HOST:PORT of process 0"),
        (Asked("a:b", 2, 0), "^--coordinator is 'a:b': expected HOST:PORT"),
        (Asked("a:99999", 2, 0), "^--coordinator is 'a:99999': expected HOST:PORT"),
        (Asked("http://a:1", 2, 0), "^--coordinator is 'http://a:1': expected HOST:P"),
        (Asked("no.invalid:1", 2, 0), "and no host is called no.invalid: expected HOS"),
        (
            Asked("[::1]:1", 2, 0, start_seconds=0),
            "^--start_seconds is 0, expected a whole number from 1 to 604800",
        ),
        (
            Asked("[::1]:1", 2, 0, heartbeat_seconds=-5),
            "^--heartbeat_seconds is -5, expected a whole number from 1 to",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(asked, message):
    with pytest.raises(InputError, match=message):
        run(asked)


def test_a_port_that_another_process_0_has_is_refused_before_anything_starts():
    with socket.socket() as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # as gRPC listens
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match="^process 0 cannot listen at the port of"):
            run(Asked(f"localhost:{port}", 2, 0))


def test_one_process_waits_for_nobody():
    distributed.barrier("nobody")
    distributed.require_same("nobody", lambda: pytest.fail("nobody asks"))
    assert distributed.is_first()
    assert distributed.from_first("nobody", lambda: (1, 2)) == (1, 2)
    assert distributed.first_then_all("nobody", lambda: "work") == "work"


def test_sigterm_waits_for_the_end_of_a_step():
    before = signal.getsignal(signal.SIGTERM)
    with distributed.stops() as must_stop:
        assert not must_stop(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert must_stop(2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_hears_no_sigterm():
    answers = []

    def work():
        with distributed.stops() as must_stop:
            answers.append(must_stop(1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]


def test_a_result_that_only_the_first_process_sees_is_an_error(monkeypatch, tmp_path):
    store.save(tmp_path, "key", {"a": np.zeros(1)})
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    monkeypatch.setattr(distributed, "from_first", lambda what, make: True)
    assert store.load(tmp_path, "key") is not None
    with pytest.raises(
        InputError, match="process 0 of 1 finds .* put the --workdir on"
    ):
        store.load(tmp_path / "elsewhere", "key")


def test_other_processes_write_no_results(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    store.save(tmp_path, "key", {"a": np.zeros(1)})
    store.keep_only(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Id: [Init]Wait_for_all_tasks_to_register::0. Some timed out task names:\n"
            "12\n3\n\n\nRPC: RegisterTask",
            "ended: process 3, 12 did not begin in time; start all again, with one ",
        ),
        (
            "ALREADY_EXISTS: Aborted connect attempt as there is a request from a "
            "newer incarnation.\n\nRPC: /xla.coordination/RegisterTask",
            "ended: another process has its --process_id too; start all again, ",
        ),
        (
            "DEADLINE_EXCEEDED\n\nRPC: /xla.coordination/RegisterTask",
            "ended: process 0 was not found at --coordinator; start all again, ",
        ),
        (
            "because the JAX distributed service detected fatal errors. UNAVAILABLE",
            "ended: process 0 is gone, or heard nothing of this one for too long; go",
        ),
        ("*** stack smashing detected ***", ""),
    ],
)
def test_the_last_words_of_jax_become_a_line(said, line):
    found = supervision.why_jax_ended_it(said, "go on")
    assert found.startswith(line) and bool(found) == bool(line)


def test_nobody_watches_over_this_process():
    assert not supervision.is_child()
