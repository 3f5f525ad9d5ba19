import sys

import dry_run
import pytest


def printed(capsys, monkeypatch, status: int, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["dry_run.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        dry_run.main()
    assert caught.value.code == status
    out, err = capsys.readouterr()
    return " ".join((err if status else out).split())


def test_a_folder_that_exists_is_refused(capsys, monkeypatch, tmp_path):
    assert printed(capsys, monkeypatch, 2, tmp_path).endswith(
        f"error: {tmp_path} exists already: choose another folder or remove it"
    )
    assert not list(tmp_path.iterdir())


def test_an_unknown_architecture_is_refused(capsys, monkeypatch, tmp_path):
    folder = tmp_path / "dry"
    error = printed(capsys, monkeypatch, 2, folder, "--arch=ir_99")
    assert "argument --arch: invalid choice: 'ir_99' (choose from " in error
    assert not folder.exists()


def test_the_help_names_the_defaults(capsys, monkeypatch):
    text = printed(capsys, monkeypatch, 0, "--help")
    for default in ("(ir_101)", "people (530)", "them (2)", "eval (32)", "(float32)"):
        assert default in text
