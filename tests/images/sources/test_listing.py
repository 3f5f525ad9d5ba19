import os

import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.sources import listing

GIF = b"GIF89a\1\0\1\0"


@pytest.fixture
def write(tmp_path):
    def write(file: str, contents: bytes = GIF) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(contents)

    return write


def others(root) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in listing.files_in(root).others}


def test_every_visible_file_is_an_image_or_named_with_a_reason(tmp_path, write):
    images = ["a.JPG", "ann/2001/x", "ann/x.jfif", "ann/x.tar.gz", "b.heic", "ü/1.png"]
    for file in images:
        write(file)
    for file in ("notes.txt", "ann/clip.mov", "ann/Thumbs.db", "ann/empty"):
        write(file, b"")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")  # whoever reads it says what is wrong
    (tmp_path / "lost").symlink_to("gone")
    (tmp_path / "lost.png").symlink_to("gone.png")
    (tmp_path / "self").symlink_to("self")
    found = listing.files_in(tmp_path)
    assert found.images == sorted([*images, "pipe.png", "lost.png"])
    assert found.folders == ["ann", "ann/2001", "ü"]
    no_image = "no image, by its suffix and its first bytes"
    assert others(tmp_path) == {
        "ann/Thumbs.db": no_image,
        "ann/clip.mov": no_image,
        "ann/empty": no_image,
        "lost": "a link that leads nowhere",
        "notes.txt": no_image,
        "pipe": "neither a file nor a folder",
        "self": "a link that leads nowhere",
    }


def test_hidden_files_and_folders_are_left_out(tmp_path, write):
    for file in (".a.png", ".thumbnails/b.png", "ann/._c.png", "ann/.d/e.png", "f.png"):
        write(file)
    found = listing.files_in(tmp_path)
    assert (found.images, found.others) == (["f.png"], [])


def test_what_systems_and_programs_keep_for_themselves_is_named_not_entered(
    tmp_path, write
):
    for file in ("ann/@eaDir/1.png", "__MACOSX/ann/1.png", "ann/1.png"):
        write(file)
    assert listing.files_in(tmp_path).images == ["ann/1.png"]
    assert others(tmp_path).keys() == {"ann/@eaDir", "__MACOSX"}


def test_links_are_followed_and_each_folder_is_entered_once(tmp_path, write):
    write("root/bea/1.png")
    write("root/bea/2.png")
    write("elsewhere/cid/3.png")
    root = tmp_path / "root"
    (root / "ann").symlink_to("bea")  # comes first in order, but is no folder's name
    (root / "cid").symlink_to(tmp_path / "elsewhere" / "cid")
    (root / "dan").symlink_to(tmp_path / "elsewhere" / "cid")
    (root / "bea" / "up").symlink_to(root)
    (root / "bea" / "one.png").symlink_to("1.png")
    found = listing.files_in(root)
    assert found.images == ["bea/1.png", "bea/2.png", "bea/one.png", "cid/3.png"]
    again = "another way to a folder that is listed already"
    assert others(root) == {"ann": again, "bea/up": again, "dan": again}


def test_records_beside_aligned_crops_are_passed_over(tmp_path, write):
    for file in (
        "alignment.jsonl",
        "skipped.jsonl",
        "options.json",
        "ann/options.json",
    ):
        write(file, b"{}")
    assert others(tmp_path).keys() == {"ann/options.json"}
    (tmp_path / "alignment.jsonl").unlink()
    assert others(tmp_path).keys() >= {"skipped.jsonl", "options.json"}


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, write, monkeypatch):
    # Whoever may read everything is not stopped by permissions.
    write("ann/1.png")
    iterate = type(tmp_path).iterdir

    def refuse(self):
        if self.name == "ann":
            raise PermissionError(13, "Permission denied", str(self))
        return iterate(self)

    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    with pytest.raises(InputError, match="ann: Permission denied; expected a readable"):
        listing.files_in(tmp_path)


def test_a_file_that_cannot_be_looked_into_is_named(tmp_path, write, monkeypatch):
    write("secret")

    def refuse(self, *arguments):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    assert others(tmp_path) == {"secret": "cannot be read: Permission denied"}


ODD = "a\nb", "a\u2028b", "a\x85b", "caf\udce9", "[red]", "back\\slash", "tab\t", "-x "


@pytest.mark.parametrize("name", ODD)
def test_any_name_is_listed_as_it_is(tmp_path, write, name):
    write(f"{name}/{name}")
    write(f"{name}/{name}.txt", b"text")
    found = listing.files_in(tmp_path)
    assert found.images == [f"{name}/{name}"]
    assert found.others[0]["path"] == f"{name}/{name}.txt"
