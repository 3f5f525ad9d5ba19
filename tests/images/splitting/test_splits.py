import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sdd_jax.errors import InputError
from sdd_jax.images.sources import folder
from sdd_jax.images.splitting import scanning


def smooth(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "faces"
    for person, name in enumerate(("ann", "bea", "cid")):
        (root / name).mkdir(parents=True)
        for number in range(8):
            smooth(100 * person + number).save(root / name / f"{number}.png")
    return root


def split(root, record, **options):
    return folder.splits(
        image_size=16, seed=0, root=str(root), record=record, **options
    )


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_record_names_every_image_with_its_sha256(root, tmp_path):
    sets = split(root, tmp_path)
    recorded = rows(tmp_path / "split.jsonl")
    assert len(recorded) == 24
    for row in recorded:
        assert row["file"] in sets[row["split"]].files
        content = (root / row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert rows(tmp_path / "skipped.jsonl") == []


def test_a_recorded_split_is_taken_whatever_came_since(root, tmp_path):
    before = {name: s.files for name, s in split(root, tmp_path).items()}
    smooth(999).save(root / "ann" / "new.png")
    (root / "dan").mkdir()
    smooth(998).save(root / "dan" / "0.png")
    after = split(root, tmp_path, test_fraction=0.5)
    assert {name: s.files for name, s in after.items()} == before
    assert after["train"].names == ("ann", "bea", "cid")


def test_the_same_pixels_come_with_and_without_a_record(root, tmp_path):
    one, two = split(root, tmp_path)["test"], split(root, None)["test"]
    assert one.files == two.files
    for index in range(len(one)):
        np.testing.assert_array_equal(one.read(index), two.read(index))


def test_an_image_that_changed_since_is_refused_by_name(root, tmp_path):
    file = split(root, tmp_path)["test"].files[0]
    smooth(999).save(root / file)
    with pytest.raises(InputError, match=f"{file} has changed since"):
        split(root, tmp_path)["test"].read(0)


def test_an_image_that_is_gone_is_named(root, tmp_path):
    file = split(root, tmp_path)["test"].files[0]
    (root / file).unlink()
    with pytest.raises(InputError, match=rf"names 1 images .* \({file}\): put"):
        split(root, tmp_path)


def test_the_same_image_in_two_splits_is_an_error(root, tmp_path):
    sets = split(root, tmp_path)
    test, train = sets["test"].files[0], sets["train"].files[0]
    recorded = rows(tmp_path / "split.jsonl")
    sha256 = {row["file"]: row["sha256"] for row in recorded}
    for row in recorded:
        if row["file"] == test:
            row["sha256"] = sha256[train]
    lines = "".join(json.dumps(row) + "\n" for row in recorded)
    (tmp_path / "split.jsonl").write_text(lines)
    with pytest.raises(InputError, match="are the same image; expected each in one"):
        split(root, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]\n", '{"split": "test"}\n', '{"split": "holdout"}\n']
)
def test_a_damaged_record_is_one_line(root, tmp_path, content):
    (tmp_path / "split.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"split.jsonl is damaged \(") as caught:
        split(root, tmp_path)
    assert "\n" not in str(caught.value)


def test_copies_of_one_person_count_once_and_under_two_names_not_at_all(root, tmp_path):
    content = (root / "ann" / "0.png").read_bytes()
    (root / "ann" / "copy.png").write_bytes(content)
    content = (root / "bea" / "1.png").read_bytes()
    (root / "cid" / "1.png").write_bytes(content)
    sets = split(root, tmp_path)
    files = {file for s in sets.values() for file in s.files}
    assert len(files) == 22
    assert {row["path"]: row["reason"] for row in rows(tmp_path / "skipped.jsonl")} == {
        "ann/copy.png": "the same image as ann/0.png",
        "bea/1.png": "the same image under 2 names: bea/1.png, cid/1.png",
        "cid/1.png": "the same image under 2 names: bea/1.png, cid/1.png",
    }


def test_who_has_one_good_image_is_left_out_and_named(root, tmp_path, capsys):
    (root / "dan").mkdir()
    smooth(998).save(root / "dan" / "0.png")
    sets = split(root, tmp_path)
    assert sets["train"].names == ("ann", "bea", "cid")
    reason = "the only good image of dan"
    assert rows(tmp_path / "skipped.jsonl") == [{"path": "dan/0.png", "reason": reason}]
    assert "images left out: 1 of 25, see " in capsys.readouterr().out


def test_a_copy_saved_again_is_reported_where_it_would_flatter_the_test(root, tmp_path):
    sets = split(root, None)
    test, train = sets["test"].files[0], sets["train"].files[0]
    image = Image.open(root / train)
    image.resize((50, 50)).filter(ImageFilter.GaussianBlur(0.5)).save(
        (root / test).with_suffix(".jpg"), quality=70
    )
    (root / test).unlink()
    (root / test).with_suffix(".jpg").rename(root / test)
    split(root, tmp_path)
    [found] = rows(tmp_path / "near_duplicates.jsonl")
    assert (found["test"], found["train"]) == (test, train)
    assert found["num_bits"] <= scanning.NEAR
