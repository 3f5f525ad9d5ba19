import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from sdd_jax import files
from sdd_jax.errors import InputError
from sdd_jax.images.sources import folder


def fill(root, counts: dict[str, int]) -> str:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(
                [number, *name.encode(errors="surrogateescape")]
            ).bytes(16 * 16 * 3)
            image = Image.frombytes("RGB", (16, 16), pixels)
            image.save(root / name / f"{number:02}.png")
    return str(root)


def owners(image_set) -> list[str]:
    return [image_set.names[label] for label in image_set.labels]


def test_every_image_is_in_one_split_and_under_its_own_name(tmp_path):
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


def test_extreme_shares_still_leave_an_image_to_train_on(tmp_path):
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


def test_hidden_files_and_other_suffixes_are_not_taken(tmp_path):
    root = fill(tmp_path, {"ann": 2, "bea": 2})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("notes")
    (tmp_path / "ann" / ".hidden.png").write_bytes(b"")
    (tmp_path / "ann" / "notes.txt").write_text("notes")
    (tmp_path / "bea" / "00.png").rename(tmp_path / "bea" / "00.PNG")
    sets = folder.splits(image_size=8, seed=0, root=root)
    files = sorted(file for image_set in sets.values() for file in image_set.files)
    assert files == ["ann/00.png", "ann/01.png", "bea/00.PNG", "bea/01.png"]


def test_an_image_is_cropped_to_its_middle_square_and_resized(tmp_path):
    root = fill(tmp_path, {"ann": 2, "bea": 2})
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:8, 16:32], pixels[8:, 16:32] = [250, 120, 10], [10, 20, 30]
    for number in range(2):
        pixels[0, 0] = number  # outside the square
        Image.fromarray(pixels).save(tmp_path / "ann" / f"{number:02}.png")
    image = folder.splits(image_size=8, seed=0, root=root)["test"].read(0)
    np.testing.assert_array_equal(image[:3], np.full((3, 8, 3), [250, 120, 10]))
    np.testing.assert_array_equal(image[5:], np.full((3, 8, 3), [10, 20, 30]))


def test_more_damaged_images_than_allowed_stop_with_the_first_ones_name(tmp_path):
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
        ({}, "no images found"),
        ({"ann": 0, "bea": 0}, "no images found"),
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


def split(tmp_path, root, **options):
    """Return the sets, and the reason of everything that was left out."""
    sets = folder.splits(
        image_size=8, seed=0, root=str(root), record=tmp_path / "record", **options
    )
    text = files.read_text(tmp_path / "record" / "skipped.jsonl")
    return sets, {row["path"]: row["reason"] for row in files.rows_of(text)}


def files_of(sets) -> list[str]:
    return sorted(file for image_set in sets.values() for file in image_set.files)


def test_images_are_taken_by_their_content_and_at_any_depth(tmp_path, capsys):
    root = tmp_path / "faces"
    fill(root, {"ann": 3, "bea": 2})
    (root / "ann" / "2001" / "may").mkdir(parents=True)
    (root / "ann" / "00.png").rename(root / "ann" / "2001" / "may" / "a.png")
    Image.open(root / "ann" / "01.png").save(root / "ann" / "b.jfif", "JPEG")
    (root / "ann" / "01.png").unlink()
    (root / "ann" / "02.png").rename(root / "ann" / "no suffix")
    sets, skipped = split(tmp_path, root)
    expected = ["ann/2001/may/a.png", "ann/b.jfif", "ann/no suffix"]
    assert files_of(sets)[:3] == expected and skipped == {}
    assert set(owners(sets["train"])) == {"ann", "bea"}
    assert capsys.readouterr().out == (
        "images in deeper folders: 1 of 5; ann/2001/may/a.png is ann's, and so on\n"
    )


def test_files_that_are_no_images_are_named_and_are_no_damage(tmp_path, capsys):
    root = tmp_path / "faces"
    fill(root, {"ann": 2, "bea": 2})
    for file in ("README.md", "ann/a.mov", "ann/b.txt", "bea/c.json", "bea/d.csv"):
        (root / file).write_text("no image")
    shutil.copy(root / "ann" / "00.png", root / "top.png")
    sets, skipped = split(tmp_path, root, max_skipped=0.0)
    assert len(files_of(sets)) == 4
    assert skipped.pop("top.png") == "in no folder, so nobody can say whose it is"
    assert set(skipped) == {"README.md", "ann/a.mov", "ann/b.txt"} | {
        "bea/c.json",
        "bea/d.csv",
    }
    reason = "no image, by its suffix and its first bytes"
    assert set(skipped.values()) == {reason}
    out = capsys.readouterr().out
    where = f"see {tmp_path / 'record' / 'skipped.jsonl'}\n"
    named = "README.md, ann/a.mov, ann/b.txt and 2 more"
    assert f"files left out: 5 ({named}): {reason}, {where}" in out


@pytest.mark.parametrize("name", ["1.heic", "2.HEIF", "3.jpg", "4"])
def test_a_heic_image_counts_as_damaged_and_says_what_to_do(tmp_path, name):
    root = tmp_path / "faces"
    fill(root, {"ann": 4, "bea": 4})
    (root / "ann" / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(InputError, match="1 of 9 images cannot be read, .*first: .*"):
        split(tmp_path, root)
    _, skipped = split(tmp_path, root, max_skipped=0.2)
    assert "a HEIC image, as iPhones make them: it cannot be" in skipped[f"ann/{name}"]


def test_who_is_left_without_two_good_images_is_named(tmp_path, capsys):
    root = tmp_path / "faces"
    fill(root, {"ann": 3, "bea": 3, "none": 0, "one": 1, "damaged": 2, "copied": 1})
    (root / "text").mkdir()
    (root / "text" / "a.txt").write_text("no image")
    (root / "deep" / "empty").mkdir(parents=True)
    for path in (root / "damaged").iterdir():
        path.write_bytes(b"torn")
    shutil.copy(root / "copied" / "00.png", root / "copied" / "01.png")
    _, skipped = split(tmp_path, root, max_skipped=0.2)
    assert {
        name for name, reason in skipped.items() if reason.startswith("no image in")
    }
    for name in ("none", "text", "deep"):
        assert skipped[name] == "no image in this folder"
    assert (
        "people left out, without two different good images: 6 of 8: copied, "
        "damaged, deep, none, one and 1 more, see "
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("train", "test"), ("Train", "val"), ("fold_1", "fold_2"), ("male",)]
)
def test_folders_of_splits_or_kinds_are_no_people(tmp_path, names):
    for name in names:
        fill(tmp_path / name, {"ann": 2, "bea": 2})
    first = tmp_path / sorted(names)[0]
    message = f"would be called {first.name}; .* give {first} as the root"
    with pytest.raises(InputError, match=message):
        folder.splits(image_size=8, seed=0, root=str(tmp_path))
    assert folder.splits(image_size=8, seed=0, root=str(first))["train"].names == (
        "ann",
        "bea",
    )


def test_splits_beside_something_else_are_still_found(tmp_path):
    for name in ("train", "test", "extra"):
        fill(tmp_path / name, {"ann": 2, "bea": 2})
    with pytest.raises(InputError, match="holds test and train with folders in them"):
        folder.images(tmp_path)


def test_one_folder_around_all_people_is_refused(tmp_path):
    fill(tmp_path / "lfw", {"ann": 2, "bea": 2})
    with pytest.raises(
        InputError, match=f"holds one folder, lfw, .* give {tmp_path / 'lfw'} as the ro"
    ):
        folder.images(tmp_path)


def test_an_image_beside_the_folders_of_train_makes_it_nobody(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / name, {"ann": 2, "bea": 2})
        shutil.copy(tmp_path / name / "ann" / "00.png", tmp_path / name / "cover.png")
    with pytest.raises(InputError, match="would be called test"):
        folder.images(tmp_path)


def test_people_may_be_told_apart_as_kinds(tmp_path):
    fill(tmp_path, {"female": 4, "male": 4})
    for name in ("female", "male"):
        fill(tmp_path / name, {"more": 2})
    assert len(folder.images(tmp_path).images) == 12


def test_somebody_may_be_called_val_or_train(tmp_path):
    fill(tmp_path, {"Val": 2, "train": 2, "ann": 2})
    (tmp_path / "Val" / "2001").mkdir()
    (tmp_path / "Val" / "00.png").rename(tmp_path / "Val" / "2001" / "00.png")
    sets = folder.splits(image_size=8, seed=0, root=str(tmp_path))
    assert sets["train"].names == ("Val", "ann", "train")


def test_a_name_in_two_unicode_forms_is_one_person(tmp_path, capsys):
    composed, decomposed = "Zo\xeb", "Zoe\u0308"
    root = tmp_path / "faces"
    fill(root, {composed: 3, decomposed: 3, "ann": 2})
    sets, _ = split(tmp_path, root)
    assert sets["train"].names == (composed, "ann")
    assert len(files_of(sets)) == 8
    for image_set in sets.values():
        for index in range(len(image_set)):
            image_set.read(index)
    assert (
        f"names that are one person's: {composed} (written 'Zoe\\u0308', 'Zo\\xeb')\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    "other", ["adam sandler", "Adam_Sandler ", "Adam__Sandler", "Ａdam_Sandler"]
)
def test_names_that_are_probably_one_persons_stay_apart_with_a_line(
    tmp_path, capsys, other
):
    fill(tmp_path, {"Adam_Sandler": 2, other: 2})
    sets = folder.splits(image_size=8, seed=0, root=str(tmp_path))
    assert set(sets["train"].names) == {"Adam_Sandler", other}
    assert "stay apart, but are probably one person's: " in capsys.readouterr().out


ODD = [
    "a\nb",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "caf\udce9",
    "[red]",
    "\"'",
    "😀",
    "\t",
]


def test_any_name_goes_through_the_split_and_its_record(tmp_path):
    root = tmp_path / "caf\udce9 \u2028"
    fill(root, {name: 3 for name in ODD})
    for name in ODD:
        (root / name / f"{name}.txt").write_text("no image")
        (root / name / "00.png").rename(root / name / f"{name}.png")
    first, skipped = split(tmp_path, root)
    again, _ = split(tmp_path, root)
    assert first["train"].names == tuple(sorted(ODD))
    assert skipped.keys() == {f"{name}/{name}.txt" for name in ODD}
    assert files_of(again) == files_of(first)
    assert {f"{name}/{name}.png" for name in ODD} < set(files_of(first))
    for image_set in again.values():
        assert owners(image_set) == [file.split("/")[0] for file in image_set.files]
        for index in range(len(image_set)):
            assert image_set.read(index).shape == (8, 8, 3)


def test_a_split_that_was_recorded_before_is_used_as_it_is(tmp_path):
    """When two Unicode forms were two people, and deeper folders nobody's."""
    root = tmp_path / "faces"
    fill(root, {"Zo\xeb": 2, "Zoe\u0308": 2})
    fill(root / "Zo\xeb", {"deeper": 2})
    rows = []
    for name in ("Zo\xeb", "Zoe\u0308"):
        for number, part in enumerate(("train", "test")):
            file = f"{name}/{number:02}.png"
            sha256 = hashlib.sha256((root / file).read_bytes()).hexdigest()
            row = {"split": part, "identity": name, "file": file, "sha256": sha256}
            rows.append(row)
    (tmp_path / "record").mkdir()
    files.write_rows(tmp_path / "record" / "split.jsonl", rows)
    sets = folder.splits(
        image_size=8, seed=0, root=str(root), record=tmp_path / "record"
    )
    assert sets["train"].names == ("Zoe\u0308", "Zo\xeb")
    assert len(files_of(sets)) == 4
    assert sets["test"].read(1).shape == (8, 8, 3)
