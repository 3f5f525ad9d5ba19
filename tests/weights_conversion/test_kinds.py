import pytest
import safetensors.numpy
from torch_writer import contiguous, write_legacy, write_zip

import weights_conversion
from sdd_jax.errors import InputError
from weights_conversion import kinds
from weights_conversion.__main__ import main

LFS = b"""version https://git-lfs.github.com/spec/v1
oid sha256:9ccdbd24bd7ec2fae0c5bd5a3e57fc2b0b4a4ef5e3e6d2a0a5b1b2c0a1d4e5f6
size 261000000
"""
PAGES = (b"<!DOCTYPE html><html>", b"\xef\xbb\xbf\n <HTML>", b"<?xml version='1.0'?>")


@pytest.fixture
def arrays(published):
    return dict(list(published.items())[:3])


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        weights_conversion.convert(path)
    message = str(caught.value)
    assert message.startswith(f"{path} looks like ")
    assert f"not like the {path.suffix} that its name says" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".dat", ".bin"])
def test_a_safetensors_file_of_another_name_is_named(suffix, arrays, tmp_path):
    path = tmp_path / f"x{suffix}"
    safetensors.numpy.save_file(arrays, path)
    message = refusal_of(path)
    assert "looks like a safetensors file" in message
    assert message.endswith("rename it to .safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".dat"])
@pytest.mark.parametrize(
    ("write", "found"),
    [
        (write_zip, "a zip archive, as torch.save writes"),
        (write_legacy, "a file of the older torch.save"),
    ],
)
def test_a_torch_file_of_another_name_is_named(write, found, suffix, arrays, tmp_path):
    message = refusal_of(write(tmp_path / f"x{suffix}", *contiguous(arrays)))
    assert f"looks like {found}" in message
    assert message.endswith("rename it to .pt or .ckpt")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".safetensors", ".dat"])
@pytest.mark.parametrize("content", [*PAGES, LFS], ids=["html", "bom", "xml", "lfs"])
def test_what_a_download_left_is_named(content, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    message = refusal_of(path)
    if content == LFS:
        assert "looks like a Git LFS pointer" in message
        assert message.endswith("git lfs pull")
    else:
        assert "looks like a web page" in message
        assert message.endswith("past what the page asks")


def test_a_name_without_a_suffix_is_said_to_have_none(arrays, tmp_path):
    path = write_zip(tmp_path / "weights", *contiguous(arrays))
    with pytest.raises(InputError) as caught:
        weights_conversion.convert(path)
    assert str(caught.value) == (
        f"{path} looks like a zip archive, as torch.save writes, and its name has no "
        f"suffix that says so: rename it to .pt or .ckpt"
    )


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors", "x.dat", "x"])
def test_an_empty_file_and_a_folder_are_named(name, tmp_path, capsys):
    path = tmp_path / name
    path.touch()
    assert main([str(path), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {path} is empty; expected weights: download them again\n"
    )
    path.unlink()
    path.mkdir()
    assert main([str(path), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {path} is a folder; expected a file of weights: give the one in it, "
        f"or download it again\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_program_ends_with_that_one_line(tmp_path, capsys):
    path = tmp_path / "x.ckpt"
    path.write_bytes(PAGES[0])
    assert main([str(path), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"error: {path} looks like a web page")
    assert not (tmp_path / "out").exists()


def test_a_name_that_fits_and_a_file_of_no_kind_are_left_to_the_reader(
    arrays, tmp_path
):
    kinds.check(write_zip(tmp_path / "x.pt", *contiguous(arrays)))
    kinds.check(write_legacy(tmp_path / "x.ckpt", *contiguous(arrays)))
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    kinds.check(tmp_path / "x.safetensors")
    kinds.check(tmp_path / "missing.pt")
    for content in (b"P", b"nothing", b"\0" * 20, b"<h"):
        (tmp_path / "y.pt").write_bytes(content)
        kinds.check(tmp_path / "y.pt")
