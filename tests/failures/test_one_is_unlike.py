"""One of several processes is not as the others are: all end, and each says why."""

import os
import shutil
import time

import jax
import numpy as np
import pytest
from agree import parameters, write_people
from processes import ROOT, after, assert_all_ended_with, free_port, wait_until

from sdd_jax import checkpoints

HEAD = "--config=configs/smoke.py", "--config.train.parts=head"
LONG = ("--config.train.steps=2000", "--config.train.validate_every=1000")
# No file may be longer; what is compiled is not kept, which would want room too.
FULL_DISK = """
import os, resource, signal
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""
NO_PERMISSION = """
import io, os
def refusing(function):
    def refuse(path, *more, **options):
        if {0!r} in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return function(path, *more, **options)
    return refuse
os.mkdir, io.open = refusing(os.mkdir), refusing(io.open)
"""
A_YEAR_BACK = """
import time
now, now_ns = time.time, time.time_ns
time.time = lambda: now() - 365 * 86400
time.time_ns = lambda: now_ns() - 365 * 86400 * 10**9
"""

pytestmark = pytest.mark.slow


def assert_all_done(ended):
    assert all(status == 0 for status, _, _ in ended), ended


def test_a_third_process_with_the_number_of_another_is_told(group, tmp_path):
    command = *HEAD, *LONG, f"--workdir={tmp_path}"
    where = f"--coordinator=localhost:{free_port()}"
    two = group(*command, own={i: [where] for i in range(2)})
    wait_until((tmp_path / "metrics.jsonl").exists)
    begin = *command, where, "--num_processes=2"
    first_again = group(*begin, "--process_id=0", count=1)
    assert_all_ended_with(first_again.ended(60), "another process has --process_id=0")
    assert all(process.poll() is None for process in two.processes)
    second_again = group(*begin, "--process_id=1", count=1)
    for ended in (second_again.ended(60), two.ended(60)):
        assert_all_ended_with(ended, "another process has --process_id=1 too; start")


def test_other_code_in_one_is_named_by_all(group, tmp_path):
    other = tmp_path / "other"
    for name in ("sdd_jax", "weights_conversion", "configs"):
        shutil.copytree(ROOT / name, other / name)
    shutil.copy(ROOT / "main.py", other)
    with (other / "sdd_jax" / "keys.py").open("a") as file:
        file.write("# another line\n")
    programs = {1: [str(other / "main.py")]}
    ended = group(*HEAD, f"--workdir={tmp_path / 'w'}", programs=programs).ended(120)
    assert_all_ended_with(ended, "the code (its SHA-256) is ", " in process 1 of 2 on ")
    assert not (tmp_path / "w").exists()


def test_other_images_in_one_are_named_by_all(group, tmp_path):
    write_people(tmp_path / "0" / "people", num_images=8)
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    image = tmp_path / "1" / "people" / "c" / "7.png"
    image.rename(image.with_stem("8"))
    programs = {
        i: after(f"import os; os.environ['HOME'] = {str(tmp_path / str(i))!r}")
        for i in range(2)
    }
    command = (
        *("--config=configs/finetune.py", "--config.data.root=~/people"),
        *("--config.model.backbone.arch=ir_tiny", "--config.model.pretrained="),
        *("--config.train.batch_size=4", f"--workdir={tmp_path / 'w'}"),
    )
    ended = group(*command, programs=programs).ended(120)
    assert_all_ended_with(ended, "names 1 images that are not there any more (c/7.png)")
    assert ended[0][2].startswith("error: process 1 of 2 on ")


@pytest.mark.parametrize("which", [0, 1])
def test_a_full_disk_of_one_ends_all_and_the_same_commands_go_on(
    group, tmp_path, which
):
    command = *HEAD, f"--workdir={tmp_path}"
    programs = {which: after(FULL_DISK.format((40_000, 10)[which]))}
    ended = group(*command, programs=programs).ended(120)
    assert_all_ended_with(ended, ("cannot save step 3", "cannot read or write")[which])
    assert_all_ended_with(ended, "File too large")
    assert f"process {which} of 2 on " in ended[1 - which][2]
    assert not checkpoints.exists(tmp_path)
    assert_all_done(group(*command).ended())


@pytest.mark.parametrize("which", [0, 1])
def test_a_workdir_that_one_may_not_write_ends_all(group, tmp_path, which):
    workdir = tmp_path / "w"
    command = *HEAD, f"--workdir={workdir}"
    programs = {which: after(NO_PERMISSION.format(str(workdir)))}
    ended = group(*command, programs=programs).ended(120)
    assert_all_ended_with(ended, f"{workdir}", ": Permission denied")
    assert f"process {which} of 2 on " in ended[1 - which][2]
    assert_all_done(group(*command).ended())


def test_a_clock_a_year_back_changes_no_bit(group, tmp_path):
    command = *HEAD, f"--workdir={tmp_path}"
    assert_all_done(group(*command, programs={1: after(A_YEAR_BACK)}).ended())
    found = parameters(tmp_path)
    shutil.rmtree(checkpoints.path(tmp_path, 6))
    later = time.time() + 365 * 86400
    for path in tmp_path.rglob("*"):
        os.utime(path, (later, later))
    ended = group(*command, programs={0: after(A_YEAR_BACK)}).ended()
    assert_all_done(ended)
    assert "going on from step 3" in ended[0][1]
    jax.tree.map(np.testing.assert_array_equal, parameters(tmp_path), found)
