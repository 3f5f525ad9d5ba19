from pathlib import Path

import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.sources.facescrub_lists import Face, read_lists, with_files

SHA256 = "ab" * 32
LINE = f"Ann Bea\t3\t9\thttp://example.org/3.jpg\t1,2,30,40\t{SHA256}\n"
HEADER = "name\timage_id\tface_id\turl\tbbox\tsha256\n"
ANN = Face("Ann Bea", 3, 9, (1, 2, 30, 40), SHA256)


@pytest.mark.parametrize("header", ["", HEADER, "\ufeff" + HEADER])
def test_a_line_is_a_face_with_and_without_the_columns_names(tmp_path, header):
    (tmp_path / "facescrub_actors.txt").write_text(header + LINE + "\n")
    assert read_lists(tmp_path) == [ANN]


def test_lists_lie_beside_the_images_or_in_any_folder_below(tmp_path):
    (tmp_path / "actors" / "lists").mkdir(parents=True)
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / "actors" / "lists" / "b.txt").write_text(LINE.replace("Ann", "Eve"))
    assert [face.name for face in read_lists(tmp_path)] == ["Ann Bea", "Eve Bea"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["A\u2028B", "A\u2029B", "A\x85B", "A\x0bB"])
def test_only_the_end_of_a_line_ends_a_line(tmp_path, name, end):
    text = (HEADER + LINE.replace("Ann Bea", name)).replace("\n", end)
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert [face.name for face in read_lists(tmp_path)] == ["A B"]


def test_a_name_that_is_no_text_stays_what_it_is(tmp_path):
    (tmp_path / "list.txt").write_bytes(LINE.encode().replace(b"Ann", b"Caf\xe9"))
    [face] = read_lists(tmp_path)
    assert face.name == "Caf\udce9 Bea"
    assert with_files([face], {Path("3.jpg"): "CAF\udce9_bea"})


def test_hidden_and_other_files_are_no_lists(tmp_path):
    (tmp_path / "._list.txt").write_text(LINE)
    (tmp_path / "list.csv").write_text(LINE)
    assert read_lists(tmp_path) == []


def test_another_text_file_is_passed_over(tmp_path):
    (tmp_path / "readme.txt").write_text("Dear reader,\n")
    (tmp_path / "empty.txt").write_text("")
    assert read_lists(tmp_path) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("\t3\t", "\tthree\t"),
        ("1,2,30,40", "1,2,30"),
        (SHA256, "ab"),
        ("Ann Bea\t", "\t"),
        ("\t9\t", "\t"),
    ],
)
def test_a_damaged_line_is_refused_by_its_number(tmp_path, old, new):
    (tmp_path / "list.txt").write_text(HEADER + LINE + LINE.replace(old, new))
    with pytest.raises(InputError, match=r"list.txt, line 3: expected name") as caught:
        read_lists(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file", ["Ann_Bea_3.jpg", "3.png", "Ann_Bea_3_9.jpeg", "0-3.jpg", "3_9.jpg"]
)
def test_a_file_is_known_by_the_number_at_its_end(file):
    if file == "0-3.jpg":  # a face_id of 3 is another face
        assert with_files([ANN], {Path(file): "ann bea"}) == {}
    else:
        assert with_files([ANN], {Path(file): "ann bea"}) == {Path(file): ANN}


@pytest.mark.parametrize("file", ["Ann_Bea.jpg", "4.jpg", "3_8.jpg"])
def test_another_number_is_no_face_of_the_list(file):
    assert with_files([ANN], {Path(file): "Ann Bea"}) == {}


def test_another_persons_number_is_no_face_of_hers():
    assert with_files([ANN], {Path("3.jpg"): "Eve"}) == {}


def test_a_tree_numbered_by_face_is_known_by_most_of_its_files():
    faces = [Face("Ann", i, i + 2, (0, 0, 1, 1), "") for i in range(1, 5)]
    by_face = {Path(f"{i + 2}.jpg"): "Ann" for i in range(1, 5)}
    by_image = {Path(f"{i}.jpg"): "Ann" for i in range(1, 5)}
    assert list(with_files(faces, by_face).values()) == faces
    assert list(with_files(faces, by_image).values()) == faces
