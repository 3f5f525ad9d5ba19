import hashlib
import json
import resource
import signal
import subprocess
import sys
import types
import unicodedata
from pathlib import Path

import facescrub_tree
import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import decoding, prepare, preprocess
from sdd_jax.images.sources import facescrub, folder, lfw, prepared
from sdd_jax.images.splitting.collection import Collection, SourceImage

ROOT = Path(__file__).parents[2]


def noise(path, seed: int) -> None:
    pixels = np.random.default_rng(seed).bytes(40 * 30 * 3)
    Image.frombytes("RGB", (30, 40), pixels).save(path)


@pytest.fixture
def root(tmp_path):
    for person, name in enumerate(("bea", "ann")):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(3):
            path = tmp_path / "faces" / name / f"{number}.png"
            noise(path, 10 * person + number)
    return tmp_path / "faces"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "prepared"


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def listing(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_each_record_is_the_resized_image_its_index_line_names(root, output):
    prepare.prepare(root, output, source="folder", size=16)
    index = rows(output / "index.jsonl")
    names = [f"{name}/{number}.png" for name in ("ann", "bea") for number in range(3)]
    assert [row["file"] for row in index] == names
    records = ArrayRecordDataSource(str(output / "images.array_record"))
    for place, row in enumerate(index):
        path = root / row["file"]
        assert row["identity"] == path.parent.name
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        square = preprocess.square_crop(decoding.decode(path))
        assert records[place] == preprocess.resize(square, 16).tobytes()


def test_more_images_than_are_decoded_at_once_stay_in_order(root, output, monkeypatch):
    monkeypatch.setattr(prepare, "_AT_ONCE", 4)
    prepare.prepare(root, output, source="folder", size=2)
    index = rows(output / "index.jsonl")
    assert len(index) == 6
    records = ArrayRecordDataSource(str(output / "images.array_record"))
    for place, row in enumerate(index):
        square = preprocess.square_crop(decoding.decode(root / row["file"]))
        assert records[place] == preprocess.resize(square, 2).tobytes()


def test_the_manifest_says_what_the_set_is_and_what_it_was_made_from(root, output):
    manifest = prepare.prepare(root, output, source="folder", size=16)
    assert manifest == json.loads((output / "manifest.json").read_text())
    index = (output / "index.jsonl").read_bytes()
    assert manifest == {
        "size": 16,
        "num_images": 6,
        "num_identities": 2,
        "num_skipped": 0,
        "source": "folder",
        "options": {},
        "root": str(root),
        "max_skipped": 0.05,
        "index_sha256": hashlib.sha256(index).hexdigest(),
        "sha256": manifest["sha256"],
    }


def test_a_source_plugs_in_by_one_line(root, output, monkeypatch):
    def images(root: Path) -> Collection:
        drawn = [
            SourceImage(
                "ann", f"{n}", lambda n=n: bytes([n]), pixels, detail=f"box {n}"
            )
            for n in range(3)
        ]
        return Collection(drawn)

    def pixels(contents: bytes) -> np.ndarray:
        return np.full((5, 5, 3), contents[0], np.uint8)

    monkeypatch.setitem(prepare.SOURCES, "drawn", types.SimpleNamespace(images=images))
    prepare.prepare(root, output, source="drawn", size=2)
    records = ArrayRecordDataSource(str(output / "images.array_record"))
    assert [record for record in records] == [bytes([n] * 12) for n in range(3)]
    expected = hashlib.sha256(b"\x02box 2").hexdigest()
    assert rows(output / "index.jsonl")[2]["sha256"] == expected


def test_a_damaged_image_is_left_out_by_name(root, output):
    (root / "ann" / "1.png").write_bytes(b"nothing")
    manifest = prepare.prepare(
        root, output, source="folder", size=16, max_skipped=1 / 6
    )
    assert (manifest["num_images"], manifest["num_skipped"]) == (5, 1)
    [skipped] = rows(output / "skipped.jsonl")
    assert skipped["path"] == "ann/1.png" and "cannot be read" in skipped["reason"]
    files = [row["file"] for row in rows(output / "index.jsonl")]
    assert len(files) == 5 and "ann/1.png" not in files


def test_what_is_no_image_is_named_and_is_no_damage(root, output, capsys):
    for file in ("README.md", "ann/a.txt", "ann/b.mov", "bea/c.csv"):
        (root / file).write_text("no image")
    (root / "cid").mkdir()
    (root / "ann" / "deep").mkdir()
    (root / "ann" / "0.png").rename(root / "ann" / "deep" / "0")
    manifest = prepare.prepare(root, output, source="folder", size=8, max_skipped=0.0)
    assert (manifest["num_images"], manifest["num_skipped"]) == (6, 0)
    reasons = {row["path"]: row["reason"] for row in rows(output / "skipped.jsonl")}
    assert reasons.pop("cid") == "no image in this folder"
    no_image = "no image, by its suffix and its first bytes"
    assert reasons == dict.fromkeys(
        ("README.md", "ann/a.txt", "ann/b.mov", "bea/c.csv"), no_image
    )
    out = capsys.readouterr().out
    listed = f"see {output / 'skipped.jsonl'}\n"
    assert f"README.md, ann/a.txt, ann/b.mov and 1 more): {no_image}, {listed}" in out
    assert f"people left out, without a good image: 1 of 3: cid, {listed}" in out


ODD = "a\nb", "a\u2028b", "a\x85b", "caf\udce9", "[red]", "[0:1]", "Zoe\u0308"


@pytest.mark.parametrize("name", ODD)
def test_any_name_goes_through(root, tmp_path, name):
    (root / "ann").rename(root / name)
    output = tmp_path / name / f"set {name}"
    prepare.prepare(root, output, source="folder", size=8)
    person = unicodedata.normalize("NFC", name)
    found = prepared.images(output).images
    assert [image.identity for image in found].count(person) == 3
    sets = prepared.splits(
        image_size=8, seed=0, root=str(output), record=tmp_path / "record"
    )
    again = prepared.splits(
        image_size=8, seed=0, root=str(output), record=tmp_path / "record"
    )
    assert again["train"].names == tuple(sorted([person, "bea"]))
    for image_set in again.values():
        for index in range(len(image_set)):
            assert image_set.read(index).shape == (8, 8, 3)
    assert again["test"].files == sets["test"].files


def test_too_many_damaged_images_are_an_error_and_nothing_is_left(root, output):
    (root / "ann" / "1.png").write_bytes(b"")
    message = (
        r"1 of 6 images or more cannot be read, more than --max-skipped=0.05 allows; "
        r"the first: .*1.png: the file is empty.*; mend or remove them, or raise --max"
    )
    with pytest.raises(InputError, match=message):
        prepare.prepare(root, output, source="folder", size=16)
    assert listing(output.parent) == ["faces"]


def test_what_is_there_already_is_never_written_over(root, output):
    output.mkdir()
    with pytest.raises(InputError, match="prepared is already there: expected a fold"):
        prepare.prepare(root, output, source="folder", size=16)
    assert listing(output) == []


def test_what_a_killed_run_left_is_in_nobodys_way(root, output):
    left = output.with_name(".prepared-new")
    left.mkdir()
    (left / "images.array_record").write_bytes(b"half")
    prepare.prepare(root, output, source="folder", size=16)
    assert listing(output.parent) == ["faces", "prepared"]


def test_a_size_of_nothing_is_refused(root, output):
    with pytest.raises(InputError, match="size=0: expected at least 1 pixel"):
        prepare.prepare(root, output, source="folder", size=0)


def test_a_full_disk_is_an_error_and_nothing_is_left(root, output):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(InputError, match="File too large; make room, or choose"):
            prepare.prepare(root, output, source="folder", size=112)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(output.parent) == ["faces"]


def test_the_command_prepares_and_says_how_many(root, output, capsys):
    assert prepare.main([str(root), str(output), "--size=8"]) == 0
    assert capsys.readouterr().out == (
        f"images prepared: 6 of 2 identities, left out: 0, {output}\n"
    )


def test_bad_input_is_one_line_and_a_status(tmp_path, root, output, capsys):
    assert prepare.main([str(tmp_path / "no"), str(output)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "no such folder" in error
    (tmp_path / "file").touch()
    assert prepare.main([str(root), str(tmp_path / "file" / "set")]) == 1
    error = capsys.readouterr().err
    assert "Not a directory; make room, or choose another OUTPUT\n" in error


def test_ctrl_c_is_one_line_and_nothing_is_left(root, output, monkeypatch, capsys):
    def interrupted(root: Path) -> Collection:
        first, second, *rest = folder.images(root).images

        def interrupt(contents: bytes) -> np.ndarray:
            raise KeyboardInterrupt

        broken = SourceImage(second.identity, second.file, second.contents, interrupt)
        return Collection([first, broken, *rest])

    monkeypatch.setitem(
        prepare.SOURCES, "folder", types.SimpleNamespace(images=interrupted)
    )
    assert prepare.main([str(root), str(output)]) == 130
    message = f"error: stopped; {output} was not made, run the same command again\n"
    assert capsys.readouterr().err == message
    assert listing(output.parent) == ["faces"]


@pytest.mark.slow
def test_the_module_runs_by_its_name(root, output):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sdd_jax.images.prepare", root, output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (output / "manifest.json").exists()


def test_what_can_show_no_face_is_left_out_with_the_reason(root, output):
    noise(root / "ann" / "row.png", 7)
    with Image.open(root / "ann" / "row.png") as image:
        image.crop((0, 0, 30, 9)).save(root / "ann" / "row.png")
    Image.new("RGB", (40, 30), (9, 9, 200)).save(root / "bea" / "flat.png")
    prepare.prepare(root, output, source="folder", size=16, max_skipped=0.5)
    reasons = {row["path"]: row["reason"] for row in rows(output / "skipped.jsonl")}
    assert "30x9 pixels, of which 9x9 are taken; exp" in reasons.pop("ann/row.png")
    assert "30x30 pixels of one colour, red 9, gr" in reasons.pop("bea/flat.png")
    assert not reasons


def lfws(root: Path) -> Path:
    for number in range(4):
        name = ("Ann_Example", "Bea_Example")[number % 2]
        (root / name).mkdir(exist_ok=True, parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (60, 50, 3), np.uint8)
        Image.fromarray(pixels).save(root / name / f"{name}_{number:04}.png")
    return root


def test_the_sources_options_are_flags_and_stay_in_the_manifest(tmp_path, output):
    root = lfws(tmp_path / "lfw")
    arguments = [str(root), str(output), "--source=lfw", "--size=24"]
    assert prepare.main([*arguments, "--crop=0.8"]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["options"] == {"crop": 0.8}
    records = ArrayRecordDataSource(str(output / "images.array_record"))
    path = root / rows(output / "index.jsonl")[0]["file"]
    face = lfw.middle(decoding.decode(path), 0.8)
    assert records[0] == preprocess.resize(face, 24).tobytes()
    other = output.with_name("other")
    assert prepare.prepare(root, other, source="lfw", size=24)["options"] == {
        "crop": 0.5
    }


def test_the_listed_boxes_margin_is_a_flag(tmp_path, output):
    root = facescrub_tree.write_photographs(
        tmp_path / "facescrub", num_identities=1, num_images=2
    )
    arguments = [str(root), str(output), "--source=facescrub", "--size=24"]
    assert prepare.main([*arguments, "--margin=0.4"]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["options"] == {"margin": 0.4}
    records = ArrayRecordDataSource(str(output / "images.array_record"))
    first, *_ = sorted(
        facescrub.images(root, margin=0.4).images, key=lambda it: it.file
    )
    face = preprocess.resize(first.pixels(first.contents()), 24)
    assert records[0] == face.tobytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--crop=1"],
            "--crop is no option of --source=folder, which takes none of its own: "
            "leave it out",
        ),
        (
            ["--source=facescrub", "--crop=1"],
            "--crop is no option of --source=facescrub, which takes --margin: leave it "
            "out",
        ),
        (
            ["--source=lfw", "--margin=1"],
            "--margin is no option of --source=lfw, which takes --crop: leave it out",
        ),
        *(
            (
                ["--source=lfw", f"--crop={crop}"],
                f"crop={crop}: expected a share above 0 and up to 1",
            )
            for crop in ("0", "1.5", "nan", "-1")
        ),
        *(
            (
                ["--source=facescrub", f"--margin={margin}"],
                f"margin={margin}: expected a share of the box from 0 to 10",
            )
            for margin in ("-0.1", "nan", "inf")
        ),
        *(
            (
                [f"--max-skipped={share}"],
                f"--max-skipped={share}: expected a share from 0 to 1",
            )
            for share in ("nan", "-1", "2")
        ),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_nothing_is_left(
    root, output, capsys, arguments, message
):
    assert prepare.main([str(root), str(output), *arguments]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert listing(output.parent) == ["faces"]
