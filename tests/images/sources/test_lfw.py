import numpy as np
import pytest
import tfds_sets
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES, prepare
from sdd_jax.images.sources import lfw
from sdd_jax.images.sources.lfw import Pair

PEOPLE = {"Ann_Example": 4, "Bea_Example": 3, "Cem_Example": 2}


def framed(seed: int) -> Image.Image:
    """Return noise of 250 x 250 with a square of two colours where the face is."""
    draws = np.random.default_rng(seed)
    pixels = draws.integers(0, 256, (250, 250, 3), np.uint8)
    pixels[62:125, 62:187] = draws.integers(0, 100, 3)
    pixels[125:187, 62:187] = draws.integers(120, 256, 3)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("lfw")
    (root / "pairs_01.txt").touch()  # the funneled version has such beside its people
    for person, (name, count) in enumerate(PEOPLE.items()):
        (root / name).mkdir()
        for number in range(1, count + 1):
            path = root / name / f"{name}_{number:04}.png"
            framed(10 * person + number).save(path)
            path.rename(path.with_suffix(".jpg"))  # no loss, and called as LFW's are
    return root


def splits(root="", **options):
    return SOURCES["lfw"](image_size=25, seed=0, root=str(root), **options)


def all_images(sets) -> np.ndarray:
    return np.stack(
        [split.read(i) for split in sets.values() for i in range(len(split))]
    )


def test_the_middle_half_of_an_image_is_the_face():
    pixels = np.asarray(framed(0))
    face = lfw.middle(pixels, lfw.CROP)
    np.testing.assert_array_equal(face, pixels[62:187, 62:187])


@pytest.mark.parametrize(
    ("share", "rows"), [(1.0, slice(10)), (0.5, slice(2, 7)), (0.2, slice(4, 6))]
)
def test_the_middle_is_in_the_middle(share, rows):
    pixels = np.arange(10 * 14 * 3, dtype=np.uint8).reshape(10, 14, 3)
    square = pixels[:, 2:12]
    np.testing.assert_array_equal(lfw.middle(pixels, share), square[rows, rows])


def test_the_smallest_share_leaves_a_pixel():
    assert lfw.middle(np.zeros((10, 10, 3), np.uint8), 0.01).shape == (1, 1, 3)


def test_only_people_with_enough_images_are_told_apart(root):
    sets = splits(root, min_images=3)
    assert sets["train"].names == ("Ann_Example", "Bea_Example")
    assert sum(map(len, sets.values())) == 7
    with pytest.raises(InputError, match="nobody has data.min_images=20 images; the"):
        splits(root)


def test_what_the_network_sees_is_the_face_alone(root):
    images = all_images(splits(root, min_images=2))
    assert len(images) == 9
    # The frame is noise; within, nothing differs along a row.
    assert (images == images[:, :, :1]).all()
    whole = all_images(splits(root, min_images=2, crop=1.0))
    assert (whole != whole[:, :, :1]).any((1, 2, 3)).all()


def test_a_share_that_is_none_is_refused(root):
    for crop in (0.0, 1.5):
        with pytest.raises(InputError, match=f"crop={crop:g}: expected a share ab"):
            splits(root, crop=crop)


def test_two_places_at_once_are_refused(root):
    with pytest.raises(
        InputError, match="data.root=.* and data.data_dir=x: expected t"
    ):
        splits(root, data_dir="x")


def test_a_folder_of_other_images_is_refused(tmp_path):
    (tmp_path / "ann").mkdir()
    framed(0).save(tmp_path / "ann" / "1.png")
    message = "ann/1.png is not called as LFW's images are: expected ROOT/Ann_Example/"
    with pytest.raises(InputError, match=message):
        splits(tmp_path)


def test_who_has_too_few_images_is_counted_and_named(root, capsys):
    splits(root, min_images=3)
    assert (
        "people left out, with fewer than 3 images each (data.min_images): 1 of 3: "
        "Cem_Example\n"
    ) in capsys.readouterr().out


def test_a_name_is_compared_in_one_unicode_form(tmp_path):
    composed, decomposed = "Zo\xeb_Fox", "Zoe\u0308_Fox"
    for person, (name, file) in enumerate(
        {composed: decomposed, decomposed: composed}.items()
    ):
        (tmp_path / name).mkdir()
        for number in (1, 2):
            image = framed(10 * person + number)
            image.save(tmp_path / name / f"{file}_{person}{number:03}.png")
    found = lfw.images(tmp_path)
    assert {image.identity for image in found.images} == {composed}
    assert len(found.images) == 4


def test_it_can_be_prepared(root, tmp_path):
    manifest = prepare.prepare(root, tmp_path / "set", source="lfw", size=25)
    assert manifest["num_images"] == 9
    sets = SOURCES["prepared"](image_size=25, seed=0, root=str(tmp_path / "set"))
    images = all_images(sets)
    assert (images == images[:, :, :1]).all()


def test_tfdss_set_gives_the_same_faces_as_the_folder(root, tmp_path):
    library = pytest.importorskip(
        "tensorflow_datasets", reason="pip install 'sdd_jax[tfds]'"
    )
    features = {
        "label": library.features.Text(),
        "image": library.features.Image(shape=(250, 250, 3)),
    }
    examples = [
        {"label": path.parent.name, "image": path.read_bytes()}
        for path in root.glob("*/*.jpg")
    ]
    tfds_sets.write(tmp_path, "lfw", features, {"train": examples})
    found = splits(data_dir=str(tmp_path), min_images=3)
    expected = splits(root, min_images=3)
    assert found["train"].names == expected["train"].names
    in_order = [
        sorted(image.tobytes() for image in all_images(sets))
        for sets in (found, expected)
    ]
    assert in_order[0] == in_order[1]


def test_without_a_folder_tfdss_set_is_asked_for(tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="pip install 'sdd_jax[tfds]'")
    with pytest.raises(
        InputError, match="lfw is not prepared in .*or prepare it: pyth"
    ):
        splits(data_dir=str(tmp_path))


FOLDS = """2\t2
Ann\t1\t4
Bea\t2\t3
Ann\t1\tBea\t1
Cem\t12\tAnn\t3
Cem\t1\t2
Dan\t1\t2
Cem\t1\tDan\t1
Dan\t2\tCem\t2
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "pairs.txt").write_text(text)
        return tmp_path / "pairs.txt"

    return write


def test_pairs_are_read_with_their_folds(write):
    found = lfw.pairs(write(FOLDS))
    assert len(found) == 8
    assert found[0] == Pair("Ann/Ann_0001.jpg", "Ann/Ann_0004.jpg", True, 0)
    assert found[3] == Pair("Cem/Cem_0012.jpg", "Ann/Ann_0003.jpg", False, 0)
    assert found[4] == Pair("Cem/Cem_0001.jpg", "Cem/Cem_0002.jpg", True, 1)
    assert [pair.is_same for pair in found] == [True, True, False, False] * 2
    assert [pair.fold for pair in found] == [0] * 4 + [1] * 4


def test_pairs_of_the_development_sets_are_one_fold(write):
    lines = FOLDS.splitlines()[1:5]
    found = lfw.pairs(write("\n".join(["2", *lines])))
    assert found == lfw.pairs(write(FOLDS))[:4]
    assert lfw.pairs(write("\n".join(["1 2", *lines, "", ""]))) == found


def test_pairs_name_the_images_of_the_folder(root, write):
    text = "1\nAnn_Example 1 4\nBea_Example 3 Cem_Example 2\n"
    files = {image.file for image in lfw.images(root).images}
    for pair in lfw.pairs(write(text)):
        assert {pair.first, pair.second} < files


@pytest.mark.parametrize("header", ["", "ten 300", "1 2 3", "0 300", "-1", "²"])
def test_a_wrong_first_line_is_refused(write, header):
    with pytest.raises(
        InputError, match="pairs.txt, line 1: .*; expected the numbers "
    ):
        lfw.pairs(write("\n".join([header, *FOLDS.splitlines()[1:]])))


@pytest.mark.parametrize("lines", [FOLDS + FOLDS, FOLDS[:60]])
def test_a_file_of_another_length_is_refused(write, lines):
    with pytest.raises(
        InputError, match="pairs.txt: .* lines, but the first asks for 9"
    ):
        lfw.pairs(write(lines))


@pytest.mark.parametrize(
    ("number", "line", "layout"),
    [
        (3, "Bea 2", "name i j"),
        (3, "Bea 2 Ann 3", "name i j"),
        (3, "Bea 2 2", "name i j"),
        (3, "Bea 0 1", "name i j"),
        (3, "Bea two 3", "name i j"),
        (5, "Ann 1 4", "name i other j"),
        (5, "Ann 1 Ann 4", "name i other j"),
        (5, "Ann 1 Bea x", "name i other j"),
        (6, "", "name i j"),
        (9, "Ann 1 Bea 1 2", "name i other j"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(write, number, line, layout):
    lines = FOLDS.splitlines()
    lines[number - 1] = line
    with pytest.raises(InputError) as caught:
        lfw.pairs(write("\n".join(lines)))
    assert str(caught.value).endswith(
        f"pairs.txt, line {number}: {line!r}; expected {layout} for two images: take "
        "LFW's own file"
    )


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8")
    for name, reason in (("image.jpg", "codec"), ("no.txt", "No such file")):
        message = f"{name}: .*{reason}.*; expected LFW's pairs.txt"
        with pytest.raises(InputError, match=message):
            lfw.pairs(tmp_path / name)
