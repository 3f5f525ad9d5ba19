import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import folder


def fill(root, counts: dict[str, int]) -> str:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng([number, *name.encode()]).bytes(16 * 16 * 3)
            picture = Image.frombytes("RGB", (16, 16), pixels)
            picture.save(root / name / f"{number:02}.png")
    return str(root)


def owners(image_set) -> list[str]:
    return [image_set.names[label] for label in image_set.labels]


def test_every_picture_is_in_one_split_and_under_its_own_name(tmp_path):
    root = fill(tmp_path, {"bea": 10, "ann": 7, "cid": 2})
    sets = folder.splits(image_size=8, seed=0, root=root)
    files = [file for image_set in sets.values() for file in image_set.files]
    assert len(files) == len(set(files)) == 19
    for image_set in sets.values():
        assert image_set.names == ("ann", "bea", "cid")
        assert image_set.labels.dtype == np.int32
        assert owners(image_set) == [file.split("/")[0] for file in image_set.files]


@pytest.mark.parametrize(
    "count, train, validation, test",
    [(2, 1, 0, 1), (3, 2, 0, 1), (5, 4, 0, 1), (10, 7, 1, 2), (20, 14, 2, 4)],
)
def test_each_identity_is_split_by_itself(tmp_path, count, train, validation, test):
    sets = folder.splits(
        image_size=8, seed=0, root=fill(tmp_path, {"ann": count, "bea": 10})
    )
    expected = {"train": train, "validation": validation, "test": test}
    assert {split: owners(s).count("ann") for split, s in sets.items()} == expected


def test_extreme_shares_still_leave_a_picture_to_train_on(tmp_path):
    sets = folder.splits(
        image_size=8,
        seed=0,
        root=fill(tmp_path, {"ann": 2, "bea": 3}),
        validation_fraction=0.6,
        test_fraction=0.39,
    )
    assert owners(sets["train"]) == ["ann", "bea"]
    assert owners(sets["test"]) == ["ann", "bea"]


def test_the_seed_decides_the_split_and_a_newcomer_does_not(tmp_path):
    root = fill(tmp_path, {"bea": 10, "cid": 10})

    def files(seed):
        sets = folder.splits(image_size=8, seed=seed, root=root)
        return {split: image_set.files for split, image_set in sets.items()}

    before = files(0)
    assert files(0) == before
    assert files(1) != before
    fill(tmp_path, {"ann": 10})
    for split, own in files(0).items():
        assert (
            tuple(file for file in own if not file.startswith("ann")) == before[split]
        )


def test_identities_of_equal_size_are_not_split_alike(tmp_path):
    root = fill(tmp_path, {f"p{number}": 10 for number in range(5)})
    test = folder.splits(image_size=8, seed=0, root=root)["test"]
    numbers = [file.split("/")[1] for file in test.files]
    assert len({tuple(numbers[k : k + 2]) for k in range(0, 10, 2)}) > 1


def test_hidden_files_and_other_suffixes_are_ignored(tmp_path):
    root = fill(tmp_path, {"ann": 2, "bea": 2})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("notes")
    (tmp_path / "ann" / ".hidden.png").write_bytes(b"")
    (tmp_path / "ann" / "notes.txt").write_text("notes")
    (tmp_path / "bea" / "00.png").rename(tmp_path / "bea" / "00.PNG")
    sets = folder.splits(image_size=8, seed=0, root=root)
    files = sorted(file for image_set in sets.values() for file in image_set.files)
    assert files == ["ann/00.png", "ann/01.png", "bea/00.PNG", "bea/01.png"]


def test_a_picture_is_cropped_to_its_middle_square_and_resized(tmp_path):
    root = fill(tmp_path, {"ann": 2, "bea": 2})
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:8, 16:32], pixels[8:, 16:32] = [250, 120, 10], [10, 20, 30]
    for number in range(2):
        pixels[0, 0] = number  # outside the square
        Image.fromarray(pixels).save(tmp_path / "ann" / f"{number:02}.png")
    picture = folder.splits(image_size=8, seed=0, root=root)["test"].read(0)
    np.testing.assert_array_equal(picture[:3], np.full((3, 8, 3), [250, 120, 10]))
    np.testing.assert_array_equal(picture[5:], np.full((3, 8, 3), [10, 20, 30]))


def test_more_damaged_pictures_than_allowed_stop_with_the_first_ones_name(tmp_path):
    root = fill(tmp_path, {"ann": 9, "bea": 9})
    for name in ("ann", "bea"):
        path = tmp_path / name / "03.png"
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"2 of 18 .*max_skipped=0.05") as caught:
        folder.splits(image_size=8, seed=0, root=root)
    assert f"{tmp_path}/ann/03.png: cannot be read" in str(caught.value)
    sets = folder.splits(image_size=8, seed=0, root=root, max_skipped=0.2)
    assert sum(map(len, sets.values())) == 16


@pytest.mark.parametrize(
    "counts, message",
    [
        (None, "no such folder"),
        ({}, "no pictures found"),
        ({"ann": 0, "bea": 0}, "no pictures found"),
        ({"ann": 5}, r"leave 1 identities \(ann\); expected two or more"),
        (
            {"ann": 5, "bea": 1, "cid": 1},
            r"leave 1 identities \(ann\); .* 2 were left out",
        ),
        (
            {name: 1 for name in "abcde"},
            r"leave 0 identities \(nobody\); .*; the first: a/00",
        ),
    ],
)
def test_a_folder_that_cannot_be_split_is_refused(tmp_path, counts, message):
    root = tmp_path / "faces"
    if counts is not None:
        root.mkdir()
        fill(root, counts)
    with pytest.raises(InputError, match=message) as caught:
        folder.splits(image_size=8, seed=0, root=str(root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("validation, test", [(0.1, 0.0), (-0.1, 0.2), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(tmp_path, validation, test):
    with pytest.raises(InputError, match="expected shares"):
        folder.splits(
            image_size=8,
            seed=0,
            root=fill(tmp_path, {"ann": 4, "bea": 4}),
            validation_fraction=validation,
            test_fraction=test,
        )
