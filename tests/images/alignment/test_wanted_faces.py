import json

import numpy as np
import pytest
from facescrub_tree import write_photographs

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.alignment.wanted_faces import wanted_faces


@pytest.fixture
def root(tmp_path):
    """Return photographs of 64 pixels, with a face of 32 at each list's box."""
    root = tmp_path / "facescrub"
    return write_photographs(root, num_identities=2, num_images=2, size=32)


def paths_in(root) -> list[str]:
    return aligned_folder.images(root, root.with_name("output")).images


def test_without_boxes_the_largest_face_of_every_image_is_wanted(root):
    wanted = wanted_faces(root, paths_in(root), None)
    assert wanted.paths == paths_in(root) and wanted.sha256 is None
    pixels, box = wanted.read(wanted.paths[0])
    assert pixels.shape == (64, 64, 3) and box is None


def test_an_image_without_a_box_is_left_out_and_counted(root, tmp_path, capsys):
    first, second, third, fourth = paths_in(root)
    path = tmp_path / "boxes.jsonl"
    path.write_text(json.dumps({"path": first, "box": [1, 2, 3, 4]}) + "\n")
    wanted = wanted_faces(root, paths_in(root), path)
    assert wanted.read(first)[1].tolist() == [1, 2, 3, 4]
    with pytest.raises(InputError) as caught:
        wanted.read(second)
    assert str(caught.value) == (
        f"{second}: no box in {path}; expected a line for it, or --largest-face"
    )
    assert wanted.paths == paths_in(root)
    assert wanted.sha256 is not None and len(wanted.sha256) == 64
    assert capsys.readouterr().out == (
        f"images without a box in {path}: 3 of 4 ({second}, {third}, {fourth}), left "
        "out; --largest-face takes their largest face\n"
    )


def test_or_its_largest_face_is_taken_if_that_is_asked_for(root, tmp_path, capsys):
    first, second, *_ = paths_in(root)
    path = tmp_path / "boxes.jsonl"
    path.write_text(json.dumps({"path": first, "box": [1, 2, 3, 4]}) + "\n")
    wanted = wanted_faces(root, paths_in(root), path, largest_face=True)
    assert wanted.read(first)[1].tolist() == [1, 2, 3, 4]
    pixels, box = wanted.read(second)
    assert pixels.shape == (64, 64, 3) and box is None
    out = capsys.readouterr().out
    assert "3 of 4 (" in out and out.endswith("), their largest face is taken\n")


def test_so_it_is_with_a_photograph_that_no_list_has(root, capsys):
    first = paths_in(root)[0]
    (root / first).rename(root / first.replace("_0.", "_99."))
    first = first.replace("_0.", "_99.")
    wanted = wanted_faces(root, paths_in(root), root)
    with pytest.raises(InputError, match=f"{first}: no box in .*facescrub; expected a"):
        wanted.read(first)
    wanted = wanted_faces(root, paths_in(root), root, largest_face=True)
    assert wanted.read(first)[1] is None
    left, taken = capsys.readouterr().out.splitlines()
    assert left.endswith(
        f"1 of 4 ({first}), left out; --largest-face takes their largest face"
    )
    assert taken.endswith(f"1 of 4 ({first}), their largest face is taken")


def test_facescrubs_lists_say_where_each_face_is(root):
    wanted = wanted_faces(root, paths_in(root), root)
    assert len(wanted.paths) == 4
    pixels, box = wanted.read("actors/images/Persona_Ofa/Persona_Ofa_1.jpeg")
    left, top = 16 + 1 % 3 - 1, 16 + 1 % 2
    assert box.tolist() == [left, top, left + 32, top + 32]
    assert pixels.shape == (64, 64, 3) and box.dtype == np.float64


def test_crops_beside_the_photographs_are_left_out(root):
    crop = root / "actors" / "faces" / "Persona_Ofa" / "Persona_Ofa_0_7.jpeg"
    crop.parent.mkdir(parents=True)
    crop.write_bytes(
        (root / wanted_faces(root, paths_in(root), root).paths[0]).read_bytes()
    )
    assert len(paths_in(root)) == 5
    assert len(wanted_faces(root, paths_in(root), root).paths) == 4


def test_another_image_than_the_lists_is_refused(root):
    path = paths_in(root)[0]
    (root / path).write_bytes((root / path).read_bytes() + b"0")
    with pytest.raises(InputError, match="it is another image or was saved again"):
        wanted_faces(root, paths_in(root), root).read(path)


def test_lists_of_other_images_are_refused(root, tmp_path):
    (tmp_path / "lists").mkdir()
    with pytest.raises(
        InputError, match="holds 0 lines of FaceScrub's lists, and none"
    ):
        wanted_faces(root, paths_in(root), tmp_path / "lists")
