import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.images.alignment.boxes import read_boxes

BOX = [1, 2, 3.5, 4]
GOOD = '{"path": "a.png", "box": [1, 2, 3, 4]}'


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "Photographs"
    (source / "ann").mkdir(parents=True)
    return source


@pytest.fixture
def path(tmp_path):
    return tmp_path / "boxes.jsonl"


def write(path, *names) -> None:
    files.write_rows(path, [{"path": name, "box": BOX} for name in names])


def refusal(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        read_boxes(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_boxes_are_read_by_path(path, source):
    text = '{"path": "ü.png", "box": [1, 2, 3.5, 4], "who": "ann"}\n\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    [(name, box)] = read_boxes(path, source, ["ü.png", "b.png"]).items()
    assert name == "ü.png"
    np.testing.assert_array_equal(box, BOX)


@pytest.mark.parametrize(
    "line",
    [
        "a.png\t1,2,3,4",
        "[]",
        '{"path": "b.png"}',
        '{"box": [1, 2, 3, 4]}',
        '{"path": "b.png", "box": [1, 2, 3]}',
        '{"path": "b.png", "box": [3, 2, 1, 4]}',
        '{"path": "b.png", "box": [1, 2, NaN, 4]}',
        '{"path": "b.png", "box": [1, 2, Infinity, 4]}',
        '{"path": ["b.png"], "box": [1, 2, 3, 4]}',
        '{"path": 7, "box": [1, 2, 3, 4]}',
        GOOD,
    ],
)
def test_a_line_that_is_no_box_is_refused_by_number(path, source, line):
    path.write_text(f"{GOOD}\n{line}\n")
    assert refusal(path, source, ["a.png"]) == (
        f'{path}, line 2: expected {{"path": "ann/1.jpg", "box": [x1, y1, x2, y2]}}, '
        "x1 below x2, y1 below y2, each path once"
    )


def test_boxes_of_other_images_are_refused(path, source):
    path.write_text(GOOD)
    assert refusal(path, source, ["ann/a.png"]) == (
        f"{path}: none of its 1 paths is an image of SOURCE; expected paths such as "
        "ann/a.png"
    )
    path.unlink()
    message = refusal(path, source, ["ann/a.png"])
    assert message == f"{path}: No such file or directory; expected a file of boxes"


NFC = unicodedata.normalize("NFC", "ann/zoë é.JPG")
NFD = unicodedata.normalize("NFD", NFC)


@pytest.mark.parametrize(
    "image, line",
    [
        (NFC, NFD),
        (NFD, NFC),
        ("ann/1.jpg", "Ann/1.JPG"),
        ("ann/straße.jpg", "ann/STRASSE.jpg"),
        ("ann/1.jpg", "./ann/1.jpg"),
        ("ann/1.jpg", ".//ann//1.jpg"),
        ("ann/1.jpg", "ann\\1.jpg"),
        ("ann/1.jpg", ".\\ann\\1.jpg"),
        ("ann/1.jpg", "ann/../ann/./1.jpg"),
        ("ann/1.jpg", "{source}/ann/1.jpg"),
        ("ann/1.jpg", "//{source}/ann/1.jpg"),
        ("ann/1.jpg", "{link}/ann/1.jpg"),
        ("ann/1.jpg", "Photographs/ann/1.jpg"),
        ("ann/1.jpg", "./photographs\\ann\\1.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
        ("ann/caf\udce9.jpg", "ann/caf\udce9.jpg"),
    ],
)
def test_a_path_may_be_written_in_other_ways(
    path, source, monkeypatch, capsys, image, line
):
    monkeypatch.chdir(source.parent)
    link = source.parent / "link"
    link.symlink_to(source)
    write(path, line.format(source=source, link=link))
    place = link if "link" in line else Path("Photographs")
    assert read_boxes(path, place, ["ann/other.jpg", image]).keys() == {image}
    assert capsys.readouterr().out == ""


def test_an_exact_path_comes_before_one_that_is_alike(path, source):
    write(path, "ann/A.jpg", "ann/a.jpg", "Photographs/1.jpg")
    images = ["ann/A.jpg", "ann/a.jpg", "Photographs/1.jpg", "1.jpg"]
    found = read_boxes(path, source, images)
    assert found.keys() == set(images[:3])


def test_a_line_that_could_be_of_two_images_is_refused(path, source):
    write(path, "ann/1.jpg", "ann/b.JPG")
    assert refusal(path, source, ["ann/1.jpg", "ann/B.jpg", "ann/b.jpg"]) == (
        f"{path}, line 2: ann/b.JPG can be ann/B.jpg or ann/b.jpg; expected the path "
        "of one, exactly as it is written"
    )


def test_two_lines_of_one_image_are_refused(path, source):
    write(path, "ann/1.jpg", "ann/2.jpg", "./Ann/1.jpg")
    assert refusal(path, source, ["ann/1.jpg", "ann/2.jpg"]) == (
        f"{path}: lines 1 and 3 (ann/1.jpg and ./Ann/1.jpg) are both of the image "
        "ann/1.jpg; expected one box for each, remove a line"
    )


def test_lines_of_no_image_are_counted_and_the_first_is_named(path, source, capsys):
    write(path, "ann/1.jpg", "bea/1.jpg", "bea/2.jpg")
    assert json.loads(path.read_text().split("\n")[1])["path"] == "bea/1.jpg"
    assert read_boxes(path, source, ["ann/1.jpg"]).keys() == {"ann/1.jpg"}
    assert capsys.readouterr().out == (
        f"boxes of no image: 2 of 3 lines of {path}, the first is line 2, bea/1.jpg\n"
    )
