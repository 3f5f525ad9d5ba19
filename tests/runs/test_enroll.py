import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enrolled_people import CROWD, NOBODY, find_by_colour, network, photograph
from PIL import Image

from sdd_jax import enroll as program
from sdd_jax import models, sharding
from sdd_jax.errors import InputError
from sdd_jax.runs import embedder, faces
from sdd_jax.runs.enroll import enroll
from sdd_jax.verification import gallery_files


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return network(tmp_path_factory.mktemp("network") / "tiny")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Two people, three images."""
    monkeypatch.setattr(faces, "load_mtcnn", lambda: find_by_colour)
    monkeypatch.setattr(faces, "SMALL", 0)  # as large as these photographs are
    jax.set_mesh(sharding.make_mesh(1))
    photograph(tmp_path / "images" / "ann" / "1.png", 1)
    photograph(tmp_path / "images" / "ann" / "2.png", 2)
    photograph(tmp_path / "images" / "bea" / "1.png", 3)
    return tmp_path / "images"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "gallery"


@pytest.fixture
def run(images, folder, source):
    def run(source=source, batch_size=4, **options):
        return enroll(images, folder, source=source, batch_size=batch_size, **options)

    return run


def left(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def refuse(*_, **__):
    raise AssertionError("what is there already is computed again")


@pytest.mark.slow
def test_a_persons_reference_is_the_mean_of_the_images_own_embeddings(
    run, images, folder, source
):
    gallery = run()
    assert (gallery.names, gallery.num_images) == (("ann", "bea"), (2, 1))
    model = models.load(source)
    pixels = [
        np.asarray(Image.open(images / file))
        for file in ("ann/1.png", "ann/2.png", "bea/1.png")
    ]
    embed = jax.jit(lambda images: model.embeddings(model.feature_maps(images)))
    found = np.array(embed(jnp.stack(pixels)))
    units = found / np.linalg.norm(found, axis=1, keepdims=True)
    mean = units[0] + units[1]
    np.testing.assert_allclose(
        gallery.references, [mean / np.linalg.norm(mean), units[2]], atol=1e-5
    )
    rows = gallery_files.load_enrolled(folder).rows
    assert [row["file"] for row in rows] == ["ann/1.png", "ann/2.png", "bea/1.png"]
    np.testing.assert_allclose(
        [row["norm"] for row in rows], np.linalg.norm(found, axis=1), rtol=1e-4
    )
    assert left(folder) == ["gallery", "images"]


@pytest.mark.slow
def test_the_manifest_says_how_it_came_about(run, folder):
    run()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["input"]["colour_order"] == "BGR"
    assert manifest["alignment"]["aligned"] and len(manifest["alignment"]["template"])
    assert len(manifest["network"]["checkpoint_sha256"]) == 64
    assert manifest["versions"]["numpy"] == np.__version__


@pytest.mark.slow
def test_people_and_images_are_added_and_nothing_is_computed_again(
    run, images, folder, monkeypatch, capsys
):
    first = run()
    photograph(images / "ann" / "3.png", 4)
    photograph(images / "cyd" / "1.png", 5)
    embedded, seen = embedder.embedded, []

    def watched(model, image_set, **options):
        seen.extend(image_set.files)
        return embedded(model, image_set, **options)

    monkeypatch.setattr(embedder, "embedded", watched)
    gallery = run()
    assert seen == ["ann/3.png", "cyd/1.png"]
    assert gallery.num_images == (3, 1, 1)
    np.testing.assert_array_equal(gallery.references[1], first.references[1])
    shutil.rmtree(images / "bea")
    monkeypatch.setattr(embedder, "embedded", refuse)
    again = run()
    np.testing.assert_array_equal(again.references, gallery.references)
    said = " ".join(capsys.readouterr().out.split())
    assert "enrolled: 3 people, 5 images (2 new)" in said
    assert "enrolled before and not given again, so they stay: 1 (bea)" in said


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_its_faces_and_embeddings(
    run, images, folder, monkeypatch
):
    fresh = run()
    shutil.rmtree(folder)
    with monkeypatch.context() as patch:

        def stop(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(gallery_files, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not folder.exists()
    monkeypatch.setattr(faces, "load_mtcnn", lambda: refuse)
    monkeypatch.setattr(embedder, "embedded", refuse)
    np.testing.assert_array_equal(run().references, fresh.references)
    assert left(folder) == ["gallery", "images"]


@pytest.mark.slow
def test_what_a_run_with_other_options_left_is_not_taken(run, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(embedder, "embedded", refuse)
        with pytest.raises(AssertionError):
            run()
    monkeypatch.setattr(faces, "load_mtcnn", lambda: refuse)
    with pytest.raises(AssertionError):
        run(min_score=0.5)


@pytest.mark.slow
def test_images_without_one_face_are_left_out_and_counted(run, images, folder, capsys):
    photograph(images / "ann" / "crowd.png", 6, red=CROWD)
    photograph(images / "cyd" / "nobody.png", 7, red=NOBODY)
    (images / "bea" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    photograph(images / "top.png", 8)
    assert run().num_images == (2, 1)
    said = " ".join(capsys.readouterr().out.split())
    assert "images left out: 3 of 6, see skipped.jsonl" in said
    assert "people left out, without an image to enrol: 1 of 3: cyd" in said
    assert "files left out: 1 (top.png): in no folder" in said
    text = (folder / "skipped.jsonl").read_text()
    reasons = {row["path"]: row["reason"] for row in map(json.loads, text.splitlines())}
    assert set(reasons) == {"ann/crowd.png", "bea/cut.png", "cyd/nobody.png"}
    assert "2 faces found, expected one: cut the others" in reasons["ann/crowd.png"]
    assert "no face found with a score of at lea" in reasons["cyd/nobody.png"]
    assert "cannot be read" in reasons["bea/cut.png"]
    assert run(largest=True).num_images == (3, 1)


def test_one_image_of_two_people_is_refused(run, images):
    shutil.copy(images / "ann" / "1.png", images / "bea" / "same.png")
    message = r"^bea/same.png of bea and ann/1.png of ann are the same image, expected"
    with pytest.raises(InputError, match=message):
        run()


@pytest.mark.slow
def test_empty_files_of_two_people_are_only_left_out(run, images, folder):
    (images / "ann" / "3.png").touch()
    (images / "bea" / "2.png").touch()
    assert run().num_images == (2, 1)
    assert (folder / "skipped.jsonl").read_text().count("the file is empty") == 2


@pytest.mark.slow
def test_an_enrolled_image_of_somebody_else_is_refused(run, images):
    run()
    (images / "ann").rename(images / "zoe")
    message = r"^zoe/1.png of zoe and ann/1.png of ann in the gallery are the same im"
    with pytest.raises(InputError, match=message):
        run()


@pytest.mark.slow
def test_one_persons_image_twice_counts_once(run, images, capsys):
    shutil.copy(images / "ann" / "1.png", images / "ann" / "same.png")
    assert run().num_images == (2, 1)
    said = " ".join(capsys.readouterr().out.split())
    assert "same image again, counted once: 1 (ann/same.png is ann/1.png)" in said


@pytest.mark.slow
def test_aligned_images_are_taken_as_they_are(run, monkeypatch):
    monkeypatch.setattr(faces, "load_mtcnn", refuse)
    assert run(align=False).num_images == (2, 1)


@pytest.mark.slow
def test_galleries_are_not_mixed(run, folder, tmp_path):
    run()
    before = (folder / "manifest.json").read_bytes()
    other = network(tmp_path / "other", seed=1)
    with pytest.raises(
        InputError, match="the network is of .*tiny .* there and of .*o"
    ):
        run(source=other)
    rgb = network(tmp_path / "rgb", input={"colour_order": "RGB"})
    message = "colour_order is BGR there and RGB now: give the same again, or enrol in"
    with pytest.raises(InputError, match=message):
        run(source=rgb)
    with pytest.raises(InputError, match="aligned is True there and False now"):
        run(align=False)
    with pytest.raises(InputError, match="compute_dtype is as trained there and bfloa"):
        run(compute_dtype="bfloat16")
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_an_embedding_of_nan_names_the_file(images, folder, tmp_path, monkeypatch):
    source = network(tmp_path / "damaged")
    model, provenance = embedder.published(source, dtype=None)
    model.head.kernel[...] = model.head.kernel[...] * np.nan
    monkeypatch.setattr(embedder, "published", lambda *_, **__: (model, provenance))
    message = r"is NaN, infinite or 0 for 3 of 3 images \(the first: ann/1.png\)"
    with pytest.raises(InputError, match=message):
        enroll(images, folder, source=source, batch_size=4)
    assert not folder.exists()


def test_where_nobody_has_a_face_there_is_no_gallery(run, images, folder):
    for path in images.rglob("*.png"):
        photograph(path, 9 + len(str(path)), red=NOBODY)
    shutil.rmtree(images / "bea")
    (images / "ann" / "2.png").unlink()
    message = "none of the 1 images in .* can be enrolled; the first: ann/1.png: no fac"
    with pytest.raises(InputError, match=message):
        run()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_score": 2.0}, r"^--min-score=2: expected a score from 0 to 1$"),
        ({"batch_size": 0}, "^--batch-size is 0, which cannot be shared equally"),
        ({"source": "absent.onnx"}, "^no weights at absent.onnx: expected a published"),
        ({"compute_dtype": "float16"}, "^compute_dtype is 'float16', expected float32"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, folder, options, message):
    with pytest.raises(InputError, match=message):
        run(**options)
    assert not folder.exists()


def test_folders_that_do_not_fit_are_refused(run, images, folder, source):
    with pytest.raises(InputError, match="lie in one another; expected two folders ap"):
        enroll(images, images / "gallery", source=source)
    with pytest.raises(InputError, match="no such folder; expected images in ROOT/<i"):
        enroll(images / "absent", folder, source=source)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no gallery, it has no manifest.json"):
        run()
    assert left(folder) == ["gallery", "images"]


@pytest.mark.slow
def test_the_command_ends_in_one_line(images, folder, source, capsys):
    arguments = [str(images), str(folder), f"--model={source}", "--batch-size=8"]
    assert program.main(arguments) == 0
    assert "enrolled: 2 people, 3 images (3 new)" in " ".join(
        capsys.readouterr().out.split()
    )
    assert program.main([*arguments, "--no-align"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.slow
def test_a_changed_file_under_an_old_name_is_a_new_image(run, images, folder):
    run()
    photograph(images / "bea" / "1.png", 10)
    assert run().num_images == (2, 2)
    rows = gallery_files.load_enrolled(folder).rows
    assert [row["file"] for row in rows][2:] == ["bea/1.png", "bea/1.png"]


@pytest.mark.slow
def test_a_killed_command_goes_on(images, folder, source, environment):
    command = [sys.executable, "-m", "sdd_jax.enroll", str(images), str(folder)]
    command += [f"--model={source}", "--no-align", "--batch-size=8"]
    for number in range(200):
        photograph(images / "cyd" / f"{number}.png", 100 + number)
    root = Path(program.__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, env=environment)
    work = folder.with_name(".gallery-work")
    while not len(list(work.glob("faces/*.png"))) > 5:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists() and work.exists()
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "enrolled: 3 people, 203 images (203 new)" in done.stdout
    assert left(folder) == ["gallery", "images"]


def test_who_is_called_nobody_is_refused(run, images, folder):
    photograph(images / "Nobody" / "1.png", 9)
    with pytest.raises(InputError, match="^a person is called Nobody, which is what"):
        run()
    assert not folder.exists()
