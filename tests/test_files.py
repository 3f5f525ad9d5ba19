import errno
import json
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from sdd_jax import files
from sdd_jax.errors import InputError

# What ends a line for `str.splitlines` and what is no text.
ODD_NAMES = ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x1cb", "a\r\nb", "a\udcffb"]


def fail(*arguments, **options):
    raise OSError(28, "No space left on device")


def test_a_file_is_written_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "image.png"
    for content in (b"old", b"new"):
        files.write_bytes(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["image.png"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, function
):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"value": 1})
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"value": 2})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["metrics.json"]
    assert json.loads(path.read_text()) == {"value": 1}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_nan_and_the_old_file_stays(tmp_path, number):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"value": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"value": [number]})
    assert os.listdir(tmp_path) == ["metrics.json"]
    assert json.loads(path.read_text()) == {"value": 1}


def test_names_are_written_as_they_are_spelt(tmp_path):
    files.write_json(tmp_path / "names.json", ["Zoë", "李"])
    assert "Zoë" in (tmp_path / "names.json").read_text(encoding="utf-8")


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "names": np.array(["Zoë", "李"])}
    files.write_arrays(tmp_path / "arrays.npz", arrays)
    with np.load(tmp_path / "arrays.npz") as loaded:
        assert set(loaded) == {"a", "names"}
        for name, value in arrays.items():
            np.testing.assert_array_equal(loaded[name], value)


def test_a_folder_is_there_once_all_is_in_it(tmp_path):
    folder = tmp_path / "runs" / "eval"
    with files.replaced_folder(folder) as fresh:
        (fresh / "a.txt").write_text("a")
        assert not folder.exists()
    assert os.listdir(tmp_path / "runs") == ["eval"]
    assert os.listdir(folder) == ["a.txt"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_new_folder_takes_the_place_of_the_old_with_all_that_was_in_it(tmp_path):
    folder = tmp_path / "eval"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "old.txt").write_text("old")
    with files.replaced_folder(folder) as fresh:
        assert os.listdir(fresh) == []
        (fresh / "new.txt").write_text("new")
        assert os.listdir(folder) == ["deep"]
    assert os.listdir(tmp_path) == ["eval"]
    assert os.listdir(folder) == ["new.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_on_the_way_keeps_the_old_folder_and_leaves_nothing_else(
    tmp_path, error
):
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(error), files.replaced_folder(folder) as fresh:
        (fresh / "new.txt").write_text("new")
        raise error
    assert os.listdir(tmp_path) == ["eval"]
    assert os.listdir(folder) == ["old.txt"]


def test_a_folder_that_cannot_be_exchanged_stays(tmp_path, monkeypatch):
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    replace = os.replace

    def fails_for_the_new(source, target):
        if str(target) == str(folder) and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            fail()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_for_the_new)
    with (
        pytest.raises(OSError, match="No space left"),
        files.replaced_folder(folder) as fresh,
    ):
        (fresh / "new.txt").write_text("new")
    assert sorted(os.listdir(tmp_path)) == ["eval", "failed"]
    assert os.listdir(folder) == ["old.txt"]


@pytest.mark.parametrize("name", [*ODD_NAMES, "Zoë", "\U0001f600", ""])
def test_rows_come_back_and_each_is_one_line_of_utf_8(tmp_path, name):
    rows = [{"file": name}, {"file": "next"}]
    files.write_rows(tmp_path / "rows.jsonl", rows)
    text = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 2
    assert files.rows_of(text) == rows
    files.write_json(tmp_path / "names.json", [name])
    assert json.loads((tmp_path / "names.json").read_text()) == [name]


def test_rows_that_others_wrote_with_odd_names_are_read(tmp_path):
    lines = [json.dumps({"file": name}, ensure_ascii=False) for name in ODD_NAMES]
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    rows = files.rows_of(files.read_text(tmp_path / "rows.jsonl"))
    assert [row["file"] for row in rows] == ODD_NAMES


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/x") == tmp_path / "x"
    assert str(files.expanded("a/~/x")) == "a/~/x"


@pytest.mark.parametrize("path", ["~nobody_here/x", "~nobody_here"])
def test_a_tilde_of_nobody_is_an_error(path):
    with pytest.raises(InputError, match="no home folder for ~nobody_here; expected ~"):
        files.expanded(path)


def test_a_file_that_is_called_like_a_home_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~notes.jpg").touch()
    assert str(files.expanded("~notes.jpg")) == "~notes.jpg"


@pytest.mark.parametrize("path", ["x" * 300, "a,b" * 3000, "a\0b", "none"])
def test_what_cannot_be_a_path_does_not_exist(path):
    assert not files.exists(path)


HOLD = """
import sys, time
from pathlib import Path
from sdd_jax import files
folder = Path(sys.argv[1])
with files.lock(folder / ".lock", of=folder):
    print("held", flush=True)
    time.sleep(100)
"""


def holder(folder) -> subprocess.Popen:
    """Return another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"held\n"
    return process


def test_a_folder_that_another_process_has_is_refused_and_it_is_named(tmp_path):
    folder = tmp_path / "a" / "b"
    process = holder(folder)
    try:
        before = time.monotonic()
        with (
            pytest.raises(InputError, match=f"{folder} is in use by process "),
            files.lock(folder / ".lock", of=folder),
        ):
            pass
        with pytest.raises(InputError, match=rf"process {process.pid} on .*wait until"):
            files.lock(folder / ".lock", of=folder).__enter__()
        assert time.monotonic() - before < 5
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    # What it left behind stops nobody, and goes.
    assert os.listdir(folder) == [".lock"]
    with files.lock(folder / ".lock", of=folder):
        (folder / "kept").touch()
    assert os.listdir(folder) == ["kept"]


def test_a_process_that_has_just_begun_is_named_as_well(tmp_path, monkeypatch):
    """Between its lock and its name there is a moment."""
    file = tmp_path / ".lock"
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            row = {"pid": 7, "host": "h", "since": "now", "command": "main.py"}
            file.write_text(json.dumps(row))

    monkeypatch.setattr(files.time, "sleep", wait)
    with file.open("wb") as held:
        files.fcntl.flock(held, files.fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"in use by process 7 on h, since now"):
            files.lock(file, of=tmp_path).__enter__()
    assert len(waits) == 3


def test_where_the_file_system_has_no_locks_a_line_says_so(
    tmp_path, monkeypatch, capsys
):
    def flock(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.lock(tmp_path / ".lock", of=tmp_path):
        pass
    assert capsys.readouterr().out == (
        f"the file system of {tmp_path} has no locks: use one command at once\n"
    )


def test_a_lock_leaves_no_folder_that_it_made(tmp_path):
    with files.lock(tmp_path / "a" / "b" / ".lock", of=tmp_path):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert os.listdir(tmp_path) == []


def test_a_lock_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match="file"),
        files.lock(tmp_path / "file" / ".lock", of=tmp_path),
    ):
        pass


def test_a_lock_that_was_removed_between_opening_and_locking_is_tried_again(
    tmp_path, monkeypatch
):
    opened = []
    open_file = os.open

    def open_and_lose(path, *options):
        handle = open_file(path, *options)
        if not opened:
            os.unlink(path)
        opened.append(handle)
        return handle

    monkeypatch.setattr(os, "open", open_and_lose)
    with files.lock(tmp_path / ".lock", of=tmp_path):
        assert len(opened) == 2
        assert (tmp_path / ".lock").exists()
