import csv
import json

import numpy as np
import pytest
from enrolled_people import NOBODY, find_by_colour, photograph
from PIL import Image

from configs import verify as verify_config
from configs import verify_lfw
from sdd_jax.errors import InputError
from sdd_jax.images import align
from sdd_jax.runs import embedder, settings, verify
from sdd_jax.runs.verify_images import listed_pairs
from sdd_jax.types import ImageSet


def small(make_config, **overrides):
    """Six people, three drawings each; a random network."""
    return make_config({"data.num_images": 3, **overrides})


@pytest.fixture(scope="module")
def done(make_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    groups = folder / "groups.csv"
    groups.write_text("person0,left\nperson1,left\nperson2/0,right\n")
    config = small(make_config, **{"data.groups": str(groups)})
    return verify.run(config, folder / "workdir"), folder / "workdir", config


@pytest.mark.slow
def test_the_file_has_every_figure_under_its_name(done):
    result, folder, _ = done
    stored = json.loads((folder / "verify" / "metrics.json").read_text())
    assert stored == json.loads(json.dumps(result))
    for name in ("accuracy", "auc", "eer", "fmr", "fnmr", "cllr", "cllr_min"):
        assert set(stored[name]) == {"value", "low", "high"}
    assert list(stored["tar"]) == ["1e-4", "1e-3", "1e-2", "1e-1"]
    assert stored["tar"]["1e-4"]["value"] is None
    assert stored["tar"]["1e-1"]["value"] is not None
    assert (stored["num_genuine"], stored["num_impostor"]) == (6 * 3, 15 * 9)
    assert stored["protocol"]["num_folds"] == 3
    assert stored["calibration"].keys() >= {"threshold", "slope", "offset"}
    assert set(stored["groups"]) == {"left", "right", "unknown"}


@pytest.mark.slow
def test_the_page_the_tables_and_the_images_say_the_same(done):
    result, folder, _ = done
    page = (folder / "verify" / "index.html").read_text()
    assert "TAR at FAR 1e-4" in page and "cannot support a FAR of 0.0001" in page
    assert f"{result['eer']['value']:.2f}" in page
    assert "| EER |" in (folder / "verify" / "metrics.md").read_text()
    with (folder / "verify" / "metrics.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert float(rows["EER"]["value"]) == result["eer"]["value"]
    with (folder / "verify" / "images.csv").open() as file:
        images = list(csv.DictReader(file))
    assert len(images) == 18
    assert {row["group"] for row in images} == {"left", "right", "unknown"}
    assert (folder / "verify" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_second_run_embeds_nothing_and_groups_may_change(done, monkeypatch, capsys):
    result, folder, config = done

    def refuse(*_, **__):
        raise AssertionError("what is finished is computed again")

    monkeypatch.setattr(embedder, "embedded", refuse)
    again = verify.run(config | {"data": config["data"] | {"groups": ""}}, folder)
    assert again["eer"] == result["eer"] and again["groups"] == {}
    assert "Groups unknown: nothing is said" in capsys.readouterr().out


def test_the_config_is_sface_whole_and_aligned():
    config = verify_config.get_config().to_dict()
    settings.check(config)
    assert config["verify"]["align"] and config["model"]["backbone"] == {
        "name": "sface"
    }


def test_the_config_takes_another_source_of_images(tmp_path):
    config = verify_config.get_config().to_dict()
    config["data"] |= {"source": "folder", "root": str(tmp_path)}
    settings.check(config)
    with pytest.raises(InputError, match=f"{tmp_path} "):
        verify.run(config, tmp_path / "workdir")  # which is empty


def test_lfws_config_is_the_same_on_its_pairs():
    config, other = verify_config.get_config(), verify_lfw.get_config()
    other.data, other.verify.pairs = config.data, ""
    assert other.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.groups": "absent.csv"}, "^absent.csv: No such file or directory; exp"),
        ({"verify.far": 1e-3}, "^verify.far is 0.001, but 135 impostor pairs cannot"),
        ({"verify.align": True}, "^verify.align is True, but data.source=synthetic"),
        ({"data.num_identities": 4}, "^the images are of 4 people .*: expected at lea"),
        ({"verify.pairs": "absent.txt"}, "^absent.txt: No such file or directory; ex"),
        ({"verify.far": 0.0}, "^verify.far is 0.0, expected a number between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(make_config, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        verify.run(small(make_config, **overrides), tmp_path / "workdir")
    assert not (tmp_path / "workdir" / "verify").exists()


@pytest.mark.slow
def test_photographs_are_aligned_first_and_one_without_a_face_is_left_out(
    make_config, tmp_path, monkeypatch, capsys
):
    for person in range(6):
        for number in range(3):
            path = tmp_path / "photos" / f"person {person}" / f"{number}.png"
            photograph(path, 10 * person + number, red=100)
    photograph(tmp_path / "photos" / "person 0" / "3.png", 99, red=NOBODY)
    monkeypatch.setattr(align, "load_mtcnn", lambda: find_by_colour)
    config = small(make_config, **{"verify.align": True})
    config["data"] = {"source": "folder", "root": str(tmp_path / "photos")}
    result = verify.run(config, tmp_path / "workdir")
    said = capsys.readouterr().out
    assert "faces aligned: 18 of 19 images (19 looked at in this run)" in said
    assert result["num_images"] == 18 and result["num_people"] == 6
    images = (tmp_path / "workdir" / "verify" / "images.csv").read_text()
    assert "person 5/2.png,person 5,unknown," in images  # as the photographs are called
    assert result["protocol"]["aligned"]
    assert verify.run(config, tmp_path / "workdir")["eer"] == result["eer"]
    assert "(0 looked at in this run)" in capsys.readouterr().out


@pytest.mark.slow
def test_groups_that_name_nobody_are_refused(make_config, tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("nobody,left\n")
    config = small(make_config, **{"data.groups": str(path)})
    with pytest.raises(InputError, match=r"names nobody \(nobody\): expected names"):
        verify.run(config, tmp_path / "workdir")


def test_an_embedding_of_nan_is_refused(make_config, tmp_path, monkeypatch):
    config = small(make_config)
    model, provenance = embedder.load(config)
    model.head.kernel[...] = model.head.kernel[...] * np.nan
    monkeypatch.setattr(embedder, "load", lambda _: (model, provenance))
    message = r"NaN, infinite or 0 for 18 of 18 images \(the first: person0/0\)"
    with pytest.raises(InputError, match=message):
        verify.run(config, tmp_path)


@pytest.fixture
def lfw_set(tmp_path):
    """LFW's layout: six people, two images each, and pairs in two folds."""
    rng = np.random.default_rng(0)
    names = [f"Person_{letter}" for letter in "ABCDEF"]
    for name in names:
        (tmp_path / "lfw" / name).mkdir(parents=True)
        for number in (1, 2):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            path = tmp_path / "lfw" / name / f"{name}_{number:04}.png"
            Image.fromarray(pixels).save(path)
            path.rename(path.with_suffix(".jpg"))
    lines = ["2\t3"]
    for fold in (names[:3], names[3:]):
        lines += [f"{name}\t1\t2" for name in fold]
        lines += [
            f"{a}\t1\t{b}\t2" for a, b in zip(fold, fold[1:] + fold, strict=False)
        ]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
def test_lfws_pairs_are_measured_in_their_folds(make_config, lfw_set, capsys):
    (lfw_set / "lfw" / "Person_F" / "Person_F_0002.jpg").unlink()
    config = make_config({"verify.pairs": str(lfw_set / "pairs.txt")})
    config["data"] = {"source": "lfw", "root": str(lfw_set / "lfw")}
    config["verify"]["far"] = 0.9
    result = verify.run(config, lfw_set / "workdir")
    # Of two folds of three and three, what has Person_F's second image is gone.
    assert (result["num_genuine"], result["num_impostor"]) == (5, 5)
    assert result["num_skipped"] == 2 and result["protocol"]["num_folds"] == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "pairs left out: 2 of 12, for want of 1 images" in said
    assert "Person_F/Person_F_0002.jpg" in said


def test_pairs_of_other_images_are_refused(lfw_set):
    pixels = np.zeros((4, 4, 3), np.uint8)
    labels = np.zeros(1, np.int32)
    images = ImageSet(("x",), ("x/x_0001.jpg",), labels, lambda _: pixels)
    with pytest.raises(InputError, match="names no pair of images that are there, of"):
        listed_pairs(images, lfw_set / "pairs.txt")


def test_a_network_that_classifies_is_refused(make_config, tmp_path, monkeypatch):
    found = {"backbone": {"name": "ir_resnet"}, "head": {"name": "pooled"}}
    monkeypatch.setattr(embedder, "read", lambda _: (found, {}))
    config = make_config({"model.pretrained": str(tmp_path)})
    with pytest.raises(InputError, match="was fine-tuned to tell its own people apart"):
        embedder.load(config)
    found |= {
        "backbone": {"name": "ir_resnet", "arch": "ir_18"},
        "head": {"name": "flat_embedding"},
    }
    message = "pass --config.model.backbone.arch=ir_18, or a"
    with pytest.raises(InputError, match=message):
        embedder.load(config)
