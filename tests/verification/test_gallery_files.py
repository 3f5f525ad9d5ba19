import json

import numpy as np
import pytest

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.verification import gallery_files
from sdd_jax.verification.gallery_files import Enrolled, Gallery

NETWORK = {"checkpoint": "one", "checkpoint_sha256": "a" * 64, "compute_dtype": "x"}
MADE_WITH = {
    "network": NETWORK,
    "input": {"size": 112, "colour_order": "RGB"},
    "alignment": {"aligned": True},
}


@pytest.fixture
def made():
    units = np.eye(3, dtype=np.float32)
    gallery = Gallery(("ann", "b\u2028é"), (2, 1), units[:2], MADE_WITH, {"numpy": "2"})
    rows = [{"name": name, "file": "1.jpg"} for name in ("ann", "ann", "b\u2028é")]
    return gallery, Enrolled(rows, units)


@pytest.fixture
def folder(made, tmp_path):
    gallery_files.save(tmp_path / "gallery", *made)
    return tmp_path / "gallery"


def test_a_gallery_comes_back_as_it_was_saved(made, folder):
    found, images = gallery_files.load(folder), gallery_files.load_enrolled(folder)
    gallery, enrolled = made
    assert (found.names, found.num_images) == (gallery.names, gallery.num_images)
    assert found.made_with == MADE_WITH and found.versions == {"numpy": "2"}
    np.testing.assert_array_equal(found.references, gallery.references)
    np.testing.assert_array_equal(images.embeddings, enrolled.embeddings)
    assert images.rows == enrolled.rows


def test_the_manifest_counts(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["num_people"], manifest["num_images"]) == (2, 3)
    assert manifest["num_dimensions"] == 3


@pytest.mark.parametrize("name", ["references.npy", "people.jsonl", "manifest.json"])
@pytest.mark.parametrize("change", ["flip", "cut"])
def test_a_damaged_file_is_named(folder, name, change):
    content = bytearray((folder / name).read_bytes())
    if change == "flip":
        content[-3] ^= 1
    else:
        del content[-5:]
    (folder / name).write_bytes(content)
    message = f"{name} is missing or not what was written: expected the file of python"
    with pytest.raises(InputError, match=message):
        gallery_files.load(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "images.jsonl"])
def test_images_that_are_gone_stop_only_who_asks_for_them(folder, name):
    (folder / name).unlink()
    assert gallery_files.load(folder).names
    with pytest.raises(InputError, match=f"{name} is missing or not what was written"):
        gallery_files.load_enrolled(folder)


def test_a_folder_that_is_no_gallery_is_refused(tmp_path):
    message = r"is no gallery, it has no manifest.json: expected a folder that python"
    with pytest.raises(InputError, match=message):
        gallery_files.load(tmp_path)


def test_a_later_version_is_refused(folder):
    files.write_json(folder / "manifest.json", {"version": 2})
    message = "is of version 2, expected at most 1: install a later sdd_jax, or enrol"
    with pytest.raises(InputError, match=message):
        gallery_files.load(folder)


def test_the_same_weights_under_another_name_are_the_same_network(tmp_path):
    network = NETWORK | {"checkpoint": "moved"}
    gallery_files.require_same(tmp_path, MADE_WITH, MADE_WITH | {"network": network})


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (
            "network",
            {"checkpoint": "two", "checkpoint_sha256": "b" * 64},
            r"the network is of one \(aaaaaaaa\) there and of two \(bbbbbbbb\) now: gi",
        ),
        ("network", {"compute_dtype": "y"}, "compute_dtype is x there and y now: give"),
        ("input", {"colour_order": "BGR"}, "colour_order is RGB there and BGR now: gi"),
        ("alignment", {"aligned": False}, "aligned is True there and False now: give"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, section, change, message):
    given = MADE_WITH | {section: MADE_WITH[section] | change}
    with pytest.raises(
        InputError, match=f"was enrolled with something else: {message}"
    ):
        gallery_files.require_same(tmp_path, MADE_WITH, given)
