import inspect
import json
import os
import shutil

import numpy as np
import pytest
from facescrub_tree import face, names, write_faces, write_photographs

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES
from sdd_jax.images.sources import facescrub

SIZE = 32


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return lists and photographs of four people; only to be read."""
    root = tmp_path_factory.mktemp("published")
    return write_photographs(root, num_identities=4, num_images=6, size=SIZE)


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "facescrub")


def split(root, record=None, **options):
    options = {"num_identities": 4, "max_skipped": 0.5} | options
    return SOURCES["facescrub"](
        image_size=SIZE, seed=0, root=str(root), record=record, **options
    )


def files_of(sets) -> list[str]:
    return sorted(file for image_set in sets.values() for file in image_set.files)


def skipped(record) -> dict[str, str]:
    lines = (record / "skipped.jsonl").read_text().splitlines()
    return {row["path"]: row["reason"] for row in map(json.loads, lines)}


def refusal_of(root, **options) -> str:
    with pytest.raises(InputError) as caught:
        split(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_in_any_nesting_are_the_people(tmp_path, capsys):
    write_faces(tmp_path, num_identities=4, num_images=3, size=SIZE)
    sets = split(tmp_path)
    assert sets["train"].names == tuple(sorted(names(4)))
    assert len(files_of(sets)) == 12
    assert capsys.readouterr().out == ""


def test_spaces_underscores_and_the_two_lists_folders_make_no_other_person(tmp_path):
    write_faces(tmp_path, num_identities=2, num_images=3, size=SIZE)
    one = tmp_path / "actors" / "faces" / "Persona_Ofa"
    (tmp_path / "more").mkdir()
    other = one.rename(tmp_path / "more" / "Persona  Ofa")
    one.mkdir()
    for path in sorted(other.iterdir())[:2]:
        path.rename(one / path.name)
    sets = split(tmp_path)
    assert sets["train"].names == ("Persona Ofa", "Personb Ofa")
    assert len(files_of(sets)) == 6


def test_files_in_one_folder_are_known_by_their_own_names(tmp_path):
    write_faces(tmp_path, num_identities=2, num_images=3, size=SIZE)
    for path in list(tmp_path.glob("*/faces/*/*")):
        path.rename(path.parents[1] / path.name)
    assert split(tmp_path)["train"].names == ("Persona Ofa", "Personb Ofa")


def test_an_image_of_nobody_is_left_out_and_named(tmp_path):
    write_faces(tmp_path / "data", num_identities=2, num_images=3, size=SIZE)
    one = next(tmp_path.glob("data/actors/faces/*/*"))
    shutil.copy(one, tmp_path / "data" / "actors" / "17.jpg")
    split(tmp_path / "data", record=tmp_path)
    reason = skipped(tmp_path)["actors/17.jpg"]
    assert reason.endswith("no folder is named after somebody, nor is the file")


def test_a_face_is_cut_out_by_the_lists_box(published):
    sets = split(published, margin=0.0)
    assert len(files_of(sets)) == 24
    image_set = sets["train"]
    for place in range(len(image_set)):
        label = names(4).index(image_set.names[image_set.labels[place]])
        number = int(image_set.files[place].rsplit("_", 1)[1].split(".")[0])
        expected = face(label, number - 6 * label, SIZE)
        difference = image_set.read(place).astype(int) - expected
        # What JPEG made of the same pixels.
        assert np.abs(difference).mean() < 4


def test_the_margin_is_a_share_of_the_box_on_each_side(published):
    # Beside the drawn face lies the photograph's grey.
    without, around = split(published, margin=0.0), split(published, margin=0.5)
    border = lambda image: np.abs(image[0].astype(int) - 90).mean()  # noqa: E731
    assert border(around["train"].read(0)) < 8 < border(without["train"].read(0))


def test_photographs_are_taken_and_faces_cut_from_them_are_not(copied):
    before = files_of(split(copied))
    shutil.copytree(copied / "actors" / "images", copied / "actors" / "faces")
    assert files_of(split(copied)) == before
    for path in copied.glob("*.txt"):
        path.unlink()
    found = files_of(split(copied))
    # Who has photographs alone keeps them.
    folders = {"/".join(file.split("/")[:2]) for file in found}
    assert folders == {"actors/faces", "actresses/images"}


def test_another_image_than_the_lists_is_left_out(copied, tmp_path):
    path = copied / "actors" / "images" / "Persona_Ofa" / "Persona_Ofa_0.jpeg"
    path.write_bytes(path.read_bytes() + b"0")
    split(copied, record=tmp_path)
    [(file, reason)] = skipped(tmp_path).items()
    assert file == "actors/images/Persona_Ofa/Persona_Ofa_0.jpeg"
    assert "the list says" in reason and "saved again" in reason


def test_without_a_listed_hash_any_image_is_taken(copied, tmp_path):
    for path in copied.glob("*.txt"):
        rows = [line.rsplit("\t", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("\n".join(rows) + "\n")
    path = copied / "actors" / "images" / "Persona_Ofa" / "Persona_Ofa_0.jpeg"
    path.write_bytes(path.read_bytes() + b"0")
    assert len(files_of(split(copied))) == 24


def test_an_image_that_no_list_has_is_left_out(copied, tmp_path):
    folder = copied / "actors" / "images" / "Persona_Ofa"
    shutil.copy(folder / "Persona_Ofa_0.jpeg", folder / "Persona_Ofa_999.jpeg")
    split(copied, record=tmp_path)
    [(file, reason)] = skipped(tmp_path).items()
    assert file.endswith("999.jpeg") and "no list has it" in reason


@pytest.mark.parametrize("box", ["5,5,5,9", "900,0,950,50", "-9000,-9000,9000,9000"])
def test_a_box_outside_of_the_image_is_left_out(copied, tmp_path, box):
    path = copied / "facescrub_actors.txt"
    lines = path.read_text().splitlines()
    cells = lines[1].split("\t")
    cells[4] = box
    path.write_text("\n".join([lines[0], "\t".join(cells), *lines[2:]]))
    split(copied, record=tmp_path)
    [reason] = skipped(tmp_path).values()
    assert f"the box {box}" in reason


def test_images_made_from_the_photographs_are_taken_as_they_are(copied):
    """Aligned crops beside the lists: their bytes are none of the lists'."""
    for path in copied.glob("*/images/*/*.jpeg"):
        path.write_bytes(path.read_bytes() + b"0")
    image_set = split(copied)["train"]
    assert len(files_of(split(copied))) == 24
    # The middle square is the entire photograph: grey up to its border.
    assert np.abs(image_set.read(0)[:2].astype(int) - 90).mean() < 8


def test_who_is_missing_is_said_by_name(copied, capsys):
    shutil.rmtree(copied / "actors" / "images" / "Personc_Ofa")
    split(copied)
    out = capsys.readouterr().out
    assert "warning: 3 identities, FaceScrub has 4; missing: Personc Ofa\n" in out


def test_without_lists_nobody_can_say_who_is_missing(tmp_path, capsys):
    write_faces(tmp_path, num_identities=2, num_images=2, size=SIZE)
    split(tmp_path, num_identities=530)
    out = capsys.readouterr().out
    assert "warning: 2 identities, FaceScrub has 530; its lists, put beside" in out


def test_a_link_in_a_circle_ends(tmp_path):
    write_faces(tmp_path, num_identities=2, num_images=3, size=SIZE)
    os.symlink(tmp_path, tmp_path / "actors" / "circle")
    os.symlink(tmp_path / "actors", tmp_path / "again")
    assert len(files_of(split(tmp_path))) == 6


def test_the_default_share_of_all_faces_is_about_the_papers_test_set():
    parameters = inspect.signature(facescrub.splits).parameters
    fraction = parameters["test_fraction"].default
    per_person = 106_863 / facescrub.NUM_IDENTITIES
    assert facescrub.NUM_IDENTITIES * round(fraction * per_person) == pytest.approx(
        4494, rel=0.06
    )


def test_no_folder_and_no_images_say_where_people_get_them(tmp_path):
    assert "no such folder; expected FaceScrub's" in refusal_of(tmp_path / "none")
    assert f"get it from {facescrub.WHERE}" in refusal_of(tmp_path)


def test_lists_without_their_photographs_and_a_file_are_refused(copied):
    shutil.rmtree(copied / "actors")
    shutil.rmtree(copied / "actresses")
    assert refusal_of(copied) == (
        f"{copied} holds FaceScrub's lists, of 24 faces, but no images; expected the "
        f"photographs beside them, in ROOT/<name>/<file>: get them from "
        f"{facescrub.WHERE}"
    )
    path = copied / "facescrub_actors.txt"
    assert refusal_of(path) == (
        f"{path} is a file; expected the folder of FaceScrub's images, correct the root"
    )


@pytest.mark.parametrize("margin", [-0.1, 10.5, float("nan"), float("inf"), 1e308])
def test_a_margin_out_of_its_range_is_refused(published, margin):
    message = f"margin={margin:g}: expected a share of the box from 0 to 10"
    assert refusal_of(published, margin=margin) == message


def test_images_lists_all_there_is(published):
    found = facescrub.images(published)
    assert len(found.images) == 24 and found.others == []


def renamed(root, old: str, listed: str, folder: str) -> None:
    """Call somebody something else in the lists and in the folders."""
    for path in root.glob("*.txt"):
        text = files.read_text(path).replace(f"{old}\t", f"{listed}\t")
        path.write_bytes(text.encode(errors="surrogateescape"))
    for path in root.glob(f"*/*/{old.replace(' ', '_')}"):
        path.rename(path.with_name(folder))


@pytest.mark.parametrize(
    "listed, folder, name",
    [
        ("Zo\xeb Fox", "Zoe\u0308_Fox", "Zo\xeb Fox"),
        ("Zoe\u0308 Fox", "zo\xeb fox", "Zo\xeb Fox"),
        ("Adam Sandler", "adam__sandler ", "Adam Sandler"),
        ("Ann\u2028Bea", "Ann\u2028Bea", "Ann Bea"),
        ("Ann\x85Bea", "ann_bea", "Ann Bea"),
        ("Caf\udce9 X", "CAF\udce9_x", "Caf\udce9 X"),
        ("[red] 'x'", "[Red]_'x'", "[red] 'x'"),
    ],
)
def test_the_lists_and_the_folders_may_write_a_name_differently(
    copied, listed, folder, name
):
    renamed(copied, "Persona Ofa", listed, folder)
    sets = split(copied)
    assert name in sets["train"].names and len(sets["train"].names) == 4
    assert len(files_of(sets)) == 24


def test_two_folders_of_one_person_are_one_and_a_line_says_so(copied, capsys):
    one = copied / "actors" / "images" / "Persona_Ofa"
    other = one.with_name("persona ofa")
    other.mkdir()
    for path in sorted(one.iterdir())[:2]:
        path.rename(other / path.name)
    line = "names that are one person's: Persona Ofa (written 'Persona_Ofa', 'persona "
    for lists in (True, False):
        sets = split(copied)
        assert sets["train"].names == tuple(sorted(names(4)))
        assert len(files_of(sets)) == 24
        assert line in capsys.readouterr().out
        if lists:
            for path in copied.glob("*.txt"):
                path.unlink()


def test_the_lists_are_no_files_left_out_and_others_are_named(copied, tmp_path, capsys):
    (copied / "notes.txt").write_text("Dear reader")
    split(copied, record=tmp_path)
    reason = "no image, by its suffix and its first bytes"
    assert skipped(tmp_path) == {"notes.txt": reason}
    assert f"files left out: 1 (notes.txt): {reason}, see" in capsys.readouterr().out


def test_somebody_without_any_image_is_named(copied, tmp_path, capsys):
    (copied / "actors" / "images" / "No_Body").mkdir()
    (copied / "actors" / "images" / "PERSONA OFA").mkdir()  # has a folder with images
    split(copied, record=tmp_path)
    assert skipped(tmp_path) == {"actors/images/No_Body": "no image in this folder"}
    assert "without two different good images: 1 of 5: No Body, see" in (
        capsys.readouterr().out
    )


def test_the_kind_that_is_not_taken_is_named(copied, tmp_path):
    for path in copied.glob("*.txt"):
        path.unlink()
    shutil.copytree(copied / "actors" / "images", copied / "actors" / "faces")
    sets = split(copied, record=tmp_path)
    assert sets["train"].names == tuple(sorted(names(4)))
    photographs = {
        path.relative_to(copied).as_posix() for path in copied.glob("actors/images/*/*")
    }
    assert skipped(tmp_path) == dict.fromkeys(
        photographs, "faces and the photographs they were cut from: one kind is taken"
    )


def test_a_heic_photograph_has_its_own_reason_in_spite_of_the_lists(copied, tmp_path):
    path = copied / "actors" / "images" / "Persona_Ofa" / "Persona_Ofa_0.jpeg"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    path.rename(path.with_suffix(".heic"))
    split(copied, record=tmp_path)
    [reason] = skipped(tmp_path).values()
    assert "a HEIC image, as iPhones make them" in reason


def test_a_link_that_leads_nowhere_is_one_image_left_out(copied, tmp_path):
    folder = copied / "actors" / "images" / "Persona_Ofa"
    (folder / "Persona_Ofa_0.jpeg").unlink()
    (folder / "Persona_Ofa_0.jpeg").symlink_to("gone.jpeg")
    split(copied, record=tmp_path)
    [reason] = skipped(tmp_path).values()
    assert "No such file" in reason
