import json

import numpy as np
import pytest
from PIL import Image

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.images.alignment import aligned_folder


def refusal(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "photographs"
    for name in ("b/2.JPG", "b/1.png", "a.webp", "b/c/d/3.pgm", ".hidden/4.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    (source / "b" / ".5.png").touch()
    (source / "b" / "list.txt").touch()
    return source


def test_images_are_found_at_any_depth_in_order(source, tmp_path):
    found = aligned_folder.images(source, tmp_path / "out").images
    assert found == ["a.webp", "b/1.png", "b/2.JPG", "b/c/d/3.pgm"]
    [other] = aligned_folder.images(source, tmp_path / "out").others
    assert other["path"] == "b/list.txt"


def test_links_that_go_round_end(source, tmp_path):
    (source / "b" / "up").symlink_to(source)
    (source / "b" / "self").symlink_to("self")
    (source / "b" / "self.png").symlink_to("self.png")
    (source / "again").symlink_to(source / "b")
    found = aligned_folder.images(source, tmp_path / "out").images
    names = [path.rpartition("/")[2] for path in found]
    assert sorted(names) == ["1.png", "2.JPG", "3.pgm", "a.webp", "self.png"]


def test_a_source_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert refusal(aligned_folder.images, tmp_path / "gone", out) == (
        f"{tmp_path / 'gone'}: no such folder; expected images in it"
    )
    message = refusal(aligned_folder.images, tmp_path / "empty", out)
    assert message.startswith(f"{tmp_path / 'empty'}: no images found; expected files")
    assert ".jpeg .jpf .jpg" in message


@pytest.mark.parametrize("output", ["photographs", "photographs/b/out", "link", "."])
def test_a_folder_in_the_other_is_refused(source, tmp_path, output):
    (tmp_path / "link").symlink_to(source / "b")
    message = refusal(aligned_folder.images, source, tmp_path / output)
    assert "lie in one another; expected two folders apart, choose" in message


def test_each_image_gets_a_name_of_its_own():
    paths = [
        "a.jpg",
        "a.png",
        "a.png.gif",
        "b/a.jpg",
        "b/A.PNG",
        "c.jpg",
        "c.png/1.gif",
    ]
    assert aligned_folder.names(paths, {}) == {
        "a.jpg": "a.png",
        "a.png": "a.png.png",
        "a.png.gif": "a.png.gif.png",
        "b/a.jpg": "b/a.png",
        "b/A.PNG": "b/A.PNG.png",
        "c.jpg": "c.jpg.png",  # c.png will be a folder
        "c.png/1.gif": "c.png/1.png",
    }


def test_names_that_some_systems_take_for_the_same_are_kept_apart():
    paths = ["Zoe\u0308.jpg", "Zo\xeb.jpg", "ZO\xcb.gif"]
    assert aligned_folder.names(paths, {}) == {
        "Zoe\u0308.jpg": "Zoe\u0308.png",
        "Zo\xeb.jpg": "Zo\xeb.jpg.png",
        "ZO\xcb.gif": "ZO\xcb.gif.png",
    }


def test_names_that_were_given_stay():
    given = {"a.png": "a.png"}
    found = aligned_folder.names(["a.jpg", "a.png"], given)
    assert found == {"a.png": "a.png", "a.jpg": "a.jpg.png"}
    given = {"a.png": "a.png", "a.jpg.gif": "A.jpg.png"}
    assert aligned_folder.names(["a.jpg"], given)["a.jpg"] == "a.jpg.png.png"


def test_what_an_earlier_version_did_not_write_down_is_as_it_was(tmp_path):
    aligned_folder.begin(tmp_path / "out", {"size": 112})
    earlier = {"largest_face": True}
    now = {"size": 112, "largest_face": True}
    aligned_folder.begin(tmp_path / "out", now, earlier)
    message = refusal(
        aligned_folder.begin, tmp_path / "out", now | {"largest_face": False}, earlier
    )
    assert "was begun with largest_face=True and not False: give the same" in message


def test_a_folder_is_begun_once_and_then_gone_on_with(tmp_path):
    options = {"size": 112, "boxes": None}
    for _ in range(2):
        aligned_folder.begin(tmp_path / "deep" / "out", options)
    text = (tmp_path / "deep" / "out" / "options.json").read_text()
    assert json.loads(text) == options
    message = refusal(aligned_folder.begin, tmp_path / "deep" / "out", {"size": 96})
    assert message.endswith(
        "was begun with size=112 and not 96: give the same again, or choose another "
        "OUTPUT"
    )


def test_a_folder_with_something_elses_files_is_refused(tmp_path):
    (tmp_path / "mine.png").touch()
    assert refusal(aligned_folder.begin, tmp_path, {}) == (
        f"{tmp_path} is not empty and holds no options.json; expected a new folder or "
        "one to go on with, choose another OUTPUT"
    )
    message = refusal(aligned_folder.begin, tmp_path / "mine.png", {})
    assert message.endswith("mine.png is a file; expected a folder, choose another")


@pytest.mark.parametrize("text", ["", "[1]", "{}", "\udcff"])
def test_damaged_options_are_refused(tmp_path, text):
    path = tmp_path / "options.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    message = refusal(aligned_folder.begin, tmp_path, {"size": 112})
    assert message == f"{path} is damaged; choose another OUTPUT"


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '"a"', '{"path": "a.png"}', '{"path": 1, "reason": "x"}']
)
def test_a_damaged_line_of_a_record_is_refused_by_number(tmp_path, line):
    path = tmp_path / "alignment.jsonl"
    path.write_text('{"path": "b.png", "reason": "x"}\n' + line + "\n")
    assert refusal(aligned_folder.resume, path) == (
        f"{path} is damaged in line 2; expected what was written there, remove that "
        "line and its image is done again"
    )


@pytest.mark.parametrize(
    "name", ["a\u2028b.png", "[red].png", "caf\udce9.png", "ü.png"]
)
def test_any_name_comes_back_from_a_record(tmp_path, name):
    path = tmp_path / "skipped.jsonl"
    row = {"path": name, "reason": "no face"}
    files.write_rows(path, [row])
    before = path.read_bytes()
    assert aligned_folder.resume(path) == [row]
    assert path.read_bytes() == before


def test_a_record_loses_its_torn_line_and_rows_without_a_crop(tmp_path):
    path = tmp_path / "alignment.jsonl"
    kept, gone = ({"path": name, "output": name} for name in ("a.png", "b.png"))
    lines = files.line_of(kept) + files.line_of(gone)
    path.write_text(lines + '{"path": "c.png", "out')
    (tmp_path / "a.png").touch()
    assert aligned_folder.resume(path) == [kept]
    assert path.read_text() == files.line_of(kept)
    assert aligned_folder.resume(tmp_path / "none.jsonl") == []
    assert not (tmp_path / "none.jsonl").exists()


def test_a_crop_is_saved_without_loss_and_alone(tmp_path):
    crop = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    aligned_folder.save(crop, tmp_path / "ann" / "1.png", 7)
    with Image.open(tmp_path / "ann" / "1.png") as image:
        np.testing.assert_array_equal(np.asarray(image), crop)
    assert [path.name for path in (tmp_path / "ann").iterdir()] == ["1.png"]


def test_the_same_contents_have_the_same_sha256(tmp_path):
    path = tmp_path / "boxes.jsonl"
    path.write_text("abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert aligned_folder.sha256(path) == digest
    assert aligned_folder.sha256(None) is None
