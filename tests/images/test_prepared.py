import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES, folder, pipeline, prepare, prepared


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    for person in range(2):
        (root / f"person{person}").mkdir()
        for number in range(6):
            pixels = np.random.default_rng([person, number]).bytes(24 * 24 * 3)
            picture = Image.frombytes("RGB", (24, 24), pixels)
            picture.save(root / f"person{person}" / f"{number}.png")
    return root


@pytest.fixture
def made(root, tmp_path):
    prepare.prepare(root, tmp_path / "set", source="folder", size=16)
    return tmp_path / "set"


def splits(root, image_size=16, record=None):
    return prepared.splits(
        image_size=image_size, seed=0, root=str(root), record=record, test_fraction=0.3
    )


def test_a_prepared_set_is_what_its_folder_is(root, made):
    expected = folder.splits(image_size=16, seed=0, root=str(root), test_fraction=0.3)
    found = splits(made)
    for name, split in expected.items():
        assert found[name].names == split.names and found[name].files == split.files
        np.testing.assert_array_equal(found[name].labels, split.labels)
        for index in range(len(split)):
            np.testing.assert_array_equal(
                found[name].read(index), split.read(index), strict=True
            )


def test_it_is_batched_like_any_source(made):
    sets = SOURCES["prepared"](image_size=8, seed=0, root=str(made))
    batches = list(pipeline.eval_batches(sets["train"], batch_size=4))
    assert batches[0].images.shape == (4, 8, 8, 3)
    for place, image in enumerate(batches[0].images):
        np.testing.assert_array_equal(image, sets["train"].read(place))


def test_the_split_is_recorded_and_a_changed_set_noticed(root, made, tmp_path):
    first = splits(made, record=tmp_path)
    again = splits(made, record=tmp_path)
    assert again["test"].files == first["test"].files
    made.rename(tmp_path / "old")
    prepare.prepare(root, made, source="folder", size=17)
    with pytest.raises(InputError, match="has changed since the pictures were split"):
        splits(made, record=tmp_path)["test"].read(0)


def test_pictures_can_be_sent_to_another_process(made):
    first, *_ = prepared.pictures(made).pictures
    same = pickle.loads(pickle.dumps(first))
    contents = same.contents()
    assert contents == first.contents()
    np.testing.assert_array_equal(same.image(contents), first.image(contents))


def test_a_set_that_is_too_small_is_refused(made):
    with pytest.raises(
        InputError,
        match="set holds pictures of 16 x 16, but the network takes 17 x 17: make it "
        "with python -m sdd_jax.images.prepare ... --size=17",
    ):
        splits(made, image_size=17)


def test_a_folder_that_is_no_prepared_set_is_refused(root):
    message = "manifest.json: No such file.*; expected a prepared set, make it with py"
    with pytest.raises(InputError, match=message):
        splits(root)


@pytest.mark.parametrize("text", ["{", "{}", '{"size": "a"}', "[]"])
def test_a_damaged_manifest_is_refused(made, text):
    (made / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="manifest.json is damaged .*: remove .* and"):
        splits(made)


def test_an_edited_index_is_refused(made):
    index = made / "index.jsonl"
    index.write_text(index.read_text().replace("person0", "person9"))
    with pytest.raises(InputError, match="index.jsonl is not as it was written: remov"):
        splits(made)


@pytest.mark.parametrize("name", ["pictures.array_record", "index.jsonl"])
def test_a_set_without_one_of_its_files_is_refused(made, name):
    (made / name).unlink()
    with pytest.raises(InputError, match="damaged .*No such file.*: remove it and ma"):
        splits(made)


def test_a_file_that_was_cut_short_is_refused(made):
    path = made / "pictures.array_record"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="set is damaged .*: remove it and make it w"):
        splits(made)


def test_a_changed_pixel_is_noticed(made):
    path = made / "pictures.array_record"
    contents = bytearray(path.read_bytes())
    first, *_ = prepared.pictures(made).pictures
    contents[contents.index(first.contents())] ^= 1
    path.write_bytes(contents)
    first, second, *_ = prepared.pictures(made).pictures
    with pytest.raises(InputError, match="person0/0.png: cannot be read .*mismatch.*;"):
        first.contents()
    assert len(second.contents()) == 16 * 16 * 3


def test_pictures_of_another_set_are_refused(root, made, tmp_path):
    (root / "person0" / "0.png").rename(tmp_path / "0.png")
    prepare.prepare(root, tmp_path / "other", source="folder", size=16)
    (tmp_path / "0.png").rename(root / "person0" / "0.png")
    (tmp_path / "other" / "pictures.array_record").rename(
        made / "pictures.array_record"
    )
    with pytest.raises(InputError, match="has 11 pictures, but index.jsonl 12: remove"):
        splits(made)


def test_pixels_of_another_size_are_refused(made):
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps(manifest | {"size": 20}))
    first, *_ = prepared.pictures(made).pictures
    with pytest.raises(InputError, match="0.png: 768 bytes, expected 20 x 20 x 3; rem"):
        first.image(first.contents())
