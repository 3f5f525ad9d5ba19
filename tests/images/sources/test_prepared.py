import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES, pipeline, prepare
from sdd_jax.images.sources import folder, prepared


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    for person in range(2):
        (root / f"person{person}").mkdir()
        for number in range(6):
            pixels = np.random.default_rng([person, number]).bytes(24 * 24 * 3)
            image = Image.frombytes("RGB", (24, 24), pixels)
            image.save(root / f"person{person}" / f"{number}.png")
    return root


@pytest.fixture
def made(root, tmp_path):
    prepare.prepare(root, tmp_path / "set", source="folder", size=16)
    return tmp_path / "set"


def rewrite(made, change) -> None:
    """Give a set a manifest as if it had been made with it."""
    manifest = json.loads((made / "manifest.json").read_text())
    text = json.dumps(prepared.with_checksum(change(manifest)))
    (made / "manifest.json").write_text(text)


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
    with pytest.raises(InputError, match="has changed since the images were split"):
        splits(made, record=tmp_path)["test"].read(0)


def test_images_can_be_sent_to_another_process(made):
    first, *_ = prepared.images(made).images
    same = pickle.loads(pickle.dumps(first))
    contents = same.contents()
    assert contents == first.contents()
    np.testing.assert_array_equal(same.pixels(contents), first.pixels(contents))


def test_a_set_that_is_too_small_is_refused(made):
    with pytest.raises(
        InputError,
        match="set holds images of 16 x 16, but the network takes 17 x 17: make it "
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


@pytest.mark.parametrize(
    "before, after",
    [
        ('"size": 16', '"size": 8'),
        ('"num_images": 12', '"num_images": 13'),
        ('"source": "folder"', '"source": "lfw"'),
        ('"options": {}', '"options": {"crop": 1}'),
        ('"options"', '"optionz"'),
        ('"sha256"', '"sha257"'),
        ('"root": "/', '"root": "x/'),
        ('"max_skipped": 0.05', '"max_skipped": 0.5'),
    ],
)
def test_an_edited_manifest_is_refused(made, before, after):
    text = (made / "manifest.json").read_text()
    assert text.count(before) == 1
    (made / "manifest.json").write_text(text.replace(before, after))
    for read in (prepared.images, lambda made: prepared.maker(root=str(made))):
        with pytest.raises(InputError, match="damaged .it is not as it was written.: "):
            read(made)


def test_a_set_of_an_earlier_version_is_refused_with_the_way_out(made):
    text = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(text.replace("num_images", "num_pictures"))
    for read in (prepared.images, lambda made: prepared.maker(root=str(made))):
        with pytest.raises(
            InputError, match="/set was prepared by an earlier version: remove it and m"
        ):
            read(made)


def test_a_set_of_an_unknown_source_explains_no_files(made):
    rewrite(made, lambda manifest: manifest | {"source": "drawn"})
    assert len(prepared.images(made).images) == 12
    with pytest.raises(
        InputError, match="source 'drawn', expected one of folder, face"
    ):
        prepared.maker(root=str(made))


def test_one_colour_in_a_set_is_refused(made):
    first, *_ = prepared.images(made).images
    with pytest.raises(
        InputError, match="person0/0.png: 16x16 pixels of one colour, re"
    ):
        first.pixels(bytes([7]) * 16 * 16 * 3)


NAMES = [
    "a[1]",
    "a[0:3]",
    "a]b",
    "a*",
    "a?b",
    "a@4",
    "a\\b",
    " a b ",
    "é",
    "a:b,{c}",
    "%s",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_utf_8_name_will_do(root, tmp_path, name):
    made = tmp_path / name / name
    prepare.prepare(root, made, source="folder", size=16)
    first, *_ = prepared.images(made).images
    assert len(first.contents()) == 16 * 16 * 3
    assert [path.name for path in made.parent.iterdir()] == [name]


def is_harmless(made, path, damaged: bytes, good: list) -> bool:
    """Return whether a damaged file still gives what it gave; False where refused."""
    path.write_bytes(damaged)
    try:
        prepared.maker(root=str(made))
        found = prepared.images(made).images
        state = [(x.identity, x.file, x.pixels(x.contents()).tobytes()) for x in found]
    except InputError as error:
        assert "\n" not in str(error) and ("remove" in str(error))
        return False
    assert state == good
    return True


@pytest.mark.parametrize(
    "name", ["images.array_record", "index.jsonl", "manifest.json"]
)
def test_no_damage_gives_other_images_or_names(made, name):
    path = made / name
    whole = path.read_bytes()
    found = prepared.images(made).images
    good = [(x.identity, x.file, x.pixels(x.contents()).tobytes()) for x in found]
    draws = np.random.default_rng(0)
    # Half of them where something is: most of a small set's images are padding.
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))
    refused = 0
    for number in range(25):
        place = int(draws.choice(used) if number % 2 else draws.integers(len(whole)))
        flipped, zeroed = bytearray(whole), bytearray(whole)
        flipped[place] ^= 1 << draws.integers(8)
        zeroed[place : place + 500] = bytes(len(zeroed[place : place + 500]))
        for damaged in (flipped, zeroed, whole[:place]):
            refused += not is_harmless(made, path, bytes(damaged), good)
    assert refused >= 25


def test_an_edited_index_is_refused(made):
    index = made / "index.jsonl"
    index.write_text(index.read_text().replace("person0", "person9"))
    with pytest.raises(InputError, match="index.jsonl is not as it was written: remov"):
        splits(made)


@pytest.mark.parametrize("name", ["images.array_record", "index.jsonl"])
def test_a_set_without_one_of_its_files_is_refused(made, name):
    (made / name).unlink()
    with pytest.raises(InputError, match="damaged .*No such file.*: remove it and ma"):
        splits(made)


def test_a_file_that_was_cut_short_is_refused(made):
    path = made / "images.array_record"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="set is damaged .*: remove it and make it w"):
        splits(made)


def test_a_changed_pixel_is_noticed(made):
    path = made / "images.array_record"
    contents = bytearray(path.read_bytes())
    first, *_ = prepared.images(made).images
    contents[contents.index(first.contents())] ^= 1
    path.write_bytes(contents)
    first, second, *_ = prepared.images(made).images
    with pytest.raises(InputError, match="person0/0.png: cannot be read .*mismatch.*;"):
        first.contents()
    assert len(second.contents()) == 16 * 16 * 3


def test_images_of_another_set_are_refused(root, made, tmp_path):
    (root / "person0" / "0.png").rename(tmp_path / "0.png")
    prepare.prepare(root, tmp_path / "other", source="folder", size=16)
    (tmp_path / "0.png").rename(root / "person0" / "0.png")
    (tmp_path / "other" / "images.array_record").rename(made / "images.array_record")
    with pytest.raises(InputError, match="has 11 images, but index.jsonl 12: remove"):
        splits(made)


def test_pixels_of_another_size_are_refused(made):
    rewrite(made, lambda manifest: manifest | {"size": 20})
    first, *_ = prepared.images(made).images
    with pytest.raises(InputError, match="0.png: 768 bytes, expected 20 x 20 x 3; rem"):
        first.pixels(first.contents())
