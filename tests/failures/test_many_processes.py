"""Several processes compute what one does, and all end where one fails."""

import shutil
import signal
import time

import jax
import numpy as np
import pytest
from processes import (
    HEARTBEAT_SECONDS,
    MOST_SECONDS,
    Group,
    assert_all_ended_with,
    wait_until,
)

from sdd_jax import checkpoints, models

SMOKE = "--config=configs/smoke.py"
# A head's rounding stays rounding; Adam makes more of a whole network's.
HEAD = SMOKE, "--config.train.parts=head"
LONG = ("--config.train.steps=2000", "--config.train.validate_every=1000")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(environment, tmp_path_factory):
    """Return a workdir of two processes in which all modes ran, and what they said."""
    workdir = tmp_path_factory.mktemp("two") / "workdir"
    arguments = *HEAD, f"--workdir={workdir}", "--mode=all"
    group = Group(arguments, count=2, devices=1, environment=environment)
    try:
        return workdir, group.ended()
    finally:
        group.close()


def copy_of(workdir, folder, *names):
    """Return a folder with some of a workdir's files."""
    folder.mkdir()
    for name in names:
        source = workdir / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    return folder


def parameters(workdir):
    return models.variables(models.load(workdir, step=6))


def test_one_process_prints_and_every_one_writes_its_log(two):
    workdir, ((status, first, _), (other_status, other, errors)) = two
    assert (status, other_status) == (0, 0)
    assert "Table 1." in first
    assert errors == ""
    assert other.startswith("waiting for all processes at localhost:")
    assert other.count("\n") == 1
    logs = [workdir / "logs" / f"process-{i}.log" for i in range(2)]
    assert all("step 6/6" in log.read_text() for log in logs)
    assert "written:" in logs[0].read_text()


def test_two_processes_give_each_image_what_two_devices_of_one_do(two, group, tmp_path):
    workdir, _ = two
    other = copy_of(workdir, tmp_path / "one", "checkpoints", "config.json")
    for mode, file in (
        ("explain", "explain/explanations.npz"),
        ("eval", "eval/per_sample.npz"),
    ):
        how = *HEAD, f"--workdir={other}", f"--mode={mode}"
        ((status, _, errors),) = group(*how, count=1, devices=2).ended()
        assert status == 0, errors
        with np.load(workdir / file) as here, np.load(other / file) as there:
            assert here.files == there.files
            for name in here.files:
                np.testing.assert_array_equal(here[name], there[name], err_msg=name)


def test_what_two_processes_evaluated_one_with_two_devices_does_not_again(
    two, group, tmp_path
):
    workdir, _ = two
    kept = "checkpoints", "config.json", "results"
    other = copy_of(workdir, tmp_path / "one", *kept)
    how = *HEAD, f"--workdir={other}", "--mode=eval"
    ((status, said, errors),) = group(*how, count=1, devices=2).ended()
    assert status == 0, errors
    assert "finished before: sdd, cam" in said


def test_a_run_of_two_processes_goes_on_in_one_and_ends_within_rounding(
    two, group, tmp_path
):
    workdir, _ = two
    other = copy_of(workdir, tmp_path / "one", "checkpoints", "config.json")
    shutil.rmtree(checkpoints.path(other, 6))
    how = *HEAD, f"--workdir={other}"
    ((status, said, errors),) = group(*how, count=1, devices=1).ended()
    assert status == 0, errors
    assert "going on from step 3" in said
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        parameters(other),
        parameters(workdir),
    )


def test_another_config_in_one_process_is_named_by_all(group, tmp_path):
    own = {1: ["--config.train.batch_size=4"]}
    ended = group(SMOKE, f"--workdir={tmp_path / 'w'}", own=own).ended(120)
    assert_all_ended_with(
        ended, "config.train.batch_size is 4 in process 1 of 2 on ", " and 8 in process"
    )
    assert not (tmp_path / "w").exists()


def test_another_number_of_processes_in_one_is_named(group, tmp_path):
    own = {1: ["--num_processes=3"]}
    ended = group(SMOKE, f"--workdir={tmp_path / 'w'}", own=own).ended(120)
    assert_all_ended_with(ended, "--num_processes is 3 in process 1 of 2 on ")


def test_devices_are_not_chosen_by_one_of_several(group, tmp_path):
    own = {1: ["--num_devices=1"], 0: ["--num_devices=1"]}
    ended = group(SMOKE, f"--workdir={tmp_path / 'w'}", own=own).ended(120)
    assert_all_ended_with(ended, "--num_devices is 1, but 2 processes use all of their")


def test_what_one_process_refuses_ends_all(group, tmp_path):
    bad = "--config.eval.split=nobody"
    ended = group(SMOKE, f"--workdir={tmp_path}", "--mode=eval", bad).ended(120)
    assert_all_ended_with(ended, "no checkpoint in")
    for i, (_, _, errors) in enumerate(ended):
        log = tmp_path / "logs" / f"process-{i}.log"
        assert log.read_text().splitlines()[-1] == errors.strip()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_is_named_and_the_same_commands_go_on(group, tmp_path, number):
    command = SMOKE, f"--workdir={tmp_path}", *LONG
    first = group(*command)
    wait_until((tmp_path / "metrics.jsonl").exists)
    first.kill(1, number)
    assert_all_ended_with(
        first.ended(MOST_SECONDS, but=[1]),
        "process 1 of 2 on ",
        "does not answer: killed, stopped or cut off; the same commands, ",
    )


def test_a_slow_process_is_waited_for_and_sigterm_to_one_saves_one_step_of_both(
    group, tmp_path
):
    command = SMOKE, f"--workdir={tmp_path}", *LONG
    first = group(*command)
    wait_until(lambda: "step 2/" in _log(tmp_path))
    first.kill(1, signal.SIGSTOP)
    time.sleep(HEARTBEAT_SECONDS / 3)
    first.kill(1, signal.SIGCONT)
    wait_until(lambda: "step 10/" in _log(tmp_path))
    first.processes[1].send_signal(signal.SIGTERM)
    ended = first.ended(120)
    step = checkpoints.latest_step(tmp_path)
    for status, _, errors in ended:
        assert status == 143
        assert f"told to stop with SIGTERM: step {step} of 2000 is saved" in errors
    second = group(*command)
    wait_until(lambda: f"going on from step {step}" in _log(tmp_path))
    second.kill(0)
    (lost,) = second.ended(MOST_SECONDS, but=[0])
    assert lost[0] != 0
    assert "process 0" in lost[2]
    assert lost[2].count("\n") == 1


def _log(workdir):
    log = workdir / "logs" / "process-0.log"
    return log.read_text() if log.exists() else ""


def test_who_does_not_begin_is_named(group, tmp_path):
    command = SMOKE, f"--workdir={tmp_path / 'w'}"
    own = {i: ["--start_seconds=8"] for i in range(3)}
    late = group(*command, count=3, own=own)
    late.kill(1)
    for status, _, errors in late.ended(MOST_SECONDS + 30, but=[1]):
        assert status == 1
        assert "process 1 did not begin in time; start all again" in errors
        assert errors.count("\n") == 1
