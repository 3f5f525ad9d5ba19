import pytest
import safetensors.numpy
from published_files import write
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
    assert "not like weights: " in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "name", ["x.CKPT", "x.Pt", "x.pth.tar", "pytorch_model.bin", "x.dat", "x"]
)
def test_a_file_is_what_its_contents_are(name, arrays, tmp_path):
    path = tmp_path / name
    safetensors.numpy.save_file(arrays, path)
    assert kinds.of(path) == "safetensors"
    for torch_save in (write_zip, write_legacy):
        assert kinds.of(torch_save(path, *contiguous(arrays))) == "torch"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.CKPT", "torch"),
        ("x.PTH", "torch"),
        ("x.SafeTensors", "safetensors"),
        ("x.DAT", "dlib"),
        ("x.Onnx", "onnx"),
    ],
)
def test_the_suffix_tells_in_any_case_where_the_contents_do_not(name, kind, tmp_path):
    (tmp_path / name).write_bytes(b"damaged")
    assert kinds.of(tmp_path / name) == kind


@pytest.mark.parametrize("name", ["x.SafeTensors", "pytorch_model.bin", "x.pth.tar"])
def test_a_network_is_converted_whatever_its_file_is_called(name, published, tmp_path):
    for source in ("x.pt", "x.safetensors"):
        path = write(tmp_path / source, published, "net.").rename(tmp_path / name)
        card = weights_conversion.convert(path).card
        assert (card["source"], card["colour_order"]) == (name, "RGB")


@pytest.mark.parametrize(
    "start", [b"\x1f\x8b\x08\0", b"BZh91", b"\0" * 257 + b"ustar\0"]
)
def test_a_packed_archive_is_to_be_unpacked(start, tmp_path):
    path = tmp_path / "x.pth.tar"
    path.write_bytes(start + b"\0" * 300)
    assert "a packed archive" in refusal_of(path)


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


def test_a_file_of_no_kind_is_left_to_the_reader(tmp_path):
    assert kinds.of(tmp_path / "missing.pt") == "torch"
    for content in (b"P", b"nothing", b"\0" * 20, b"<h"):
        (tmp_path / "y.pt").write_bytes(content)
        assert kinds.of(tmp_path / "y.pt") == "torch"
