"""The command line, as a person uses it: one process a command."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sdd_jax import checkpoints, files, models

ROOT = Path(__file__).parents[1]
SMOKE = "--config=configs/smoke.py"


@pytest.fixture(scope="module")
def main(environment):
    def run(*arguments, cwd=ROOT):
        return subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def start(environment):
    """Start a command and return its process; it is killed when the test ends."""
    processes = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def finished(main, tmp_path_factory):
    """Return a workdir in which all modes of smoke's config ran, and what it said."""
    workdir = tmp_path_factory.mktemp("main") / "workdir"
    done = main(SMOKE, f"--workdir={workdir}", "--mode=all")
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


def assert_one_line(done, *parts):
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the process ended without saying {words!r}")


def final_arrays(folder):
    step = checkpoints.latest_step(folder)
    return models.variables(models.load(folder, step=step))


@pytest.mark.slow
def test_all_modes_run_and_tell_their_share_of_the_time(finished):
    workdir, output = finished
    for mode in ("train", "explain", "eval"):
        assert any(x.split()[:1] == [mode] for x in output.splitlines() if "%" in x)
    assert "Table 1." in output
    assert f"open {workdir}/explain/index.html in a browser" in output
    assert (workdir / "eval" / "metrics.json").exists()
    assert (workdir / "explain" / "manifest.json").exists()


@pytest.mark.slow
def test_each_mode_runs_alone_from_another_folder(main, finished, tmp_path):
    workdir, _ = finished
    config = f"--config={ROOT / 'configs/smoke.py'}"
    photograph = tmp_path / "some.jpg"
    Image.effect_noise((200, 300), 60).save(photograph)
    options = [f"--config.explain.images={photograph}", config, f"--workdir={workdir}"]
    done = main("--mode=explain", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "images explained: 1" in done.stdout
    done = main("--mode=eval", config, f"--workdir={workdir}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_killed_twice_in_training_and_once_in_eval_changes_no_bit(
    main, start, finished, tmp_path
):
    workdir, _ = finished
    command = (SMOKE, f"--workdir={tmp_path}")
    for kill_at in ("step 2/6", "step 4/6"):
        process = start(*command)
        wait_for(process, kill_at)
        process.kill()
        process.wait()
    assert main(*command).returncode == 0
    jax.tree.map(
        np.testing.assert_array_equal, final_arrays(tmp_path), final_arrays(workdir)
    )
    process = start(*command, "--mode=eval")
    while not list(tmp_path.glob("results/*/*.npz")):  # the first method's
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "eval").exists()
    done = main(*command, "--mode=eval")
    assert done.returncode == 0
    assert "finished before: sdd" in done.stdout
    results = [
        json.loads((folder / "eval" / "metrics.json").read_text())
        for folder in (tmp_path, workdir)
    ]
    for result in results:
        del result["protocol"]["checkpoint"]  # the folder's own name
    assert results[0] == results[1]
    rows = [
        np.load(folder / "eval" / "per_sample.npz") for folder in (tmp_path, workdir)
    ]
    for name in rows[0].files:
        np.testing.assert_array_equal(rows[0][name], rows[1][name])


@pytest.mark.slow
def test_sigterm_saves_the_step_and_the_same_command_ends_the_same(
    main, start, finished, tmp_path
):
    workdir, _ = finished
    command = SMOKE, f"--workdir={tmp_path}"
    process = start(*command)
    wait_for(process, "step 2/6")
    process.send_signal(signal.SIGTERM)
    output = process.stdout.read()
    assert process.wait() == 143, output
    step = checkpoints.latest_step(tmp_path)
    line = f"error: told to stop with SIGTERM: step {step} of 6 is saved, the same "
    assert output.splitlines()[-1].startswith(line)
    done = main(*command)
    assert f"going on from step {step}" in done.stdout
    jax.tree.map(
        np.testing.assert_array_equal, final_arrays(tmp_path), final_arrays(workdir)
    )
    assert checkpoints.best_step(tmp_path) == checkpoints.best_step(workdir)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "explain", "eval"])
def test_ctrl_c_stops_with_one_line_and_keeps_what_was_finished(
    start, finished, tmp_path, mode
):
    workdir, _ = finished
    before = {path.name for path in (workdir / mode).glob("*")}
    if mode == "train":
        process = start(SMOKE, f"--workdir={tmp_path}", "--config.train.steps=100000")
        wait_for(process, "validation")
        wait_for(process, "validation")  # by now the first checkpoint is saved
    else:
        # Something no other test compiled, so that there is time to interrupt it.
        new = f"--config.{mode}.batch_size=1"
        process = start(SMOKE, f"--workdir={workdir}", f"--mode={mode}", new)
        wait_for(process, {"eval": "evaluating", "explain": "images to explain"}[mode])
    process.send_signal(signal.SIGINT)
    output = process.stdout.read()
    process.wait()
    assert process.returncode == 130, output
    assert output.splitlines()[-1].startswith("error: stopped; what was finished")
    assert "Traceback" not in output
    if mode == "train":
        assert checkpoints.latest_step(tmp_path) >= 3
    else:
        assert {path.name for path in (workdir / mode).iterdir()} == before
        assert not [path for path in workdir.iterdir() if path.name.startswith(".")]
    if mode == "explain":
        manifest = json.loads((workdir / mode / "manifest.json").read_text())
        for name, sha256 in manifest["files"].items():
            content = (workdir / mode / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_earlier_results_stay(
    environment, finished, tmp_path
):
    """What is compiled is known from `finished`: no room is needed to keep it."""
    limited = (
        "import resource, runpy, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    program = [sys.executable, "-c", f"import sys; sys.argv[:1] = []; {limited}"]
    arguments = [str(ROOT / "main.py"), SMOKE, f"--workdir={tmp_path}"]
    done = subprocess.run(
        [*program, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert_one_line(done, "cannot save step 3", "File too large", "free the disk")
    assert not checkpoints.exists(tmp_path)


@pytest.mark.slow
def test_a_workdir_that_cannot_be_written_is_one_line(main, tmp_path):
    (tmp_path / "file").touch()
    workdir = tmp_path / "file" / "workdir"
    assert_one_line(main(SMOKE, f"--workdir={workdir}"), str(workdir), "--workdir")


@pytest.mark.slow
def test_a_wrong_command_is_one_line(main, tmp_path):
    """Of the whole program; test_command_line.py has all others, in this process."""
    assert_one_line(main("--nonsense", f"--workdir={tmp_path / 'workdir'}"), "nonsense")
    assert not (tmp_path / "workdir").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "explain", "eval"])
def test_a_workdir_that_another_command_uses_is_one_line_and_stays(
    main, finished, mode
):
    workdir, _ = finished
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with files.lock(workdir / ".lock", of=workdir):
        done = main(SMOKE, f"--workdir={workdir}", f"--mode={mode}")
    assert_one_line(done, f"{workdir} is in use by process {os.getpid()} on ", "wait")
    after = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_a_tilde_in_a_workdir_is_the_home_and_nobodys_is_one_line(
    environment, tmp_path
):
    for workdir, part in (
        ("~/x", f"no checkpoint in {tmp_path}/x: "),
        ("~nobody_here/x", "no home folder for ~nobody_here"),
    ):
        done = subprocess.run(
            [sys.executable, "main.py", SMOKE, f"--workdir={workdir}", "--mode=eval"],
            cwd=ROOT,
            env=environment | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert_one_line(done, part)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_workdir_of_another_config_is_one_line(main, finished):
    workdir, _ = finished
    done = main(SMOKE, f"--workdir={workdir}", "--config.seed=7", "--mode=eval")
    assert_one_line(done, "another config", "seed is 0 there and 7 now")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["explain", "eval"])
def test_a_damaged_checkpoint_is_one_line(main, finished, tmp_path, mode):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    found = (tmp_path / "checkpoints").glob("*/model/**/d/*")
    for file in sorted(found):
        file.write_bytes(file.read_bytes()[:-500])
    done = main(SMOKE, f"--workdir={tmp_path}", f"--mode={mode}")
    assert_one_line(
        done, "(the file model/", " is not what was saved", "train or convert it"
    )


@pytest.mark.slow
def test_the_papers_config_runs_on_a_small_network_and_drawn_faces(main, tmp_path):
    rng = np.random.default_rng(0)
    for person in range(3):
        for number in range(8):
            path = tmp_path / "faces" / f"person {person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    done = main(
        "--config=configs/finetune.py",
        f"--workdir={tmp_path / 'workdir'}",
        "--mode=all",
        f"--config.data.root={tmp_path / 'faces'}",
        "--config.model.backbone.arch=ir_tiny",
        "--config.model.pretrained=",
        "--config.train.steps=2",
        "--config.train.batch_size=4",
        "--config.eval.batch_size=4",
        "--config.explain.num_images=2",
    )
    assert done.returncode == 0, done.stderr
    assert "images explained: 2" in done.stdout
    result = json.loads((tmp_path / "workdir" / "eval" / "metrics.json").read_text())
    assert result["num_images"] == 3


@pytest.mark.slow
def test_a_full_device_is_one_line(environment, tmp_path):
    code = f"""
import sys
import jax
sys.argv = ["main.py", "{SMOKE}", "--workdir={tmp_path}"]
import main
from sdd_jax.runs import train
def run(config, workdir):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 9 bytes.")
train.run = run
sys.exit(main.main(sys.argv))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert_one_line(done, "memory is full: choose a smaller batch_size", "train.remat")


@pytest.mark.slow
def test_help_names_the_modes(main):
    done = main("--help")
    words = " ".join(done.stdout.split())
    assert "revise, verify, identify, explain_pair, prove_pairs or all" in words
