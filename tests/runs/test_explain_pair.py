import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.runs import embedder, explain_pair, galleries, verify
from sdd_jax.verification import gallery_files
from sdd_jax.verification.gallery_files import Enrolled, Gallery

PROBE, REFERENCE, OTHER = "person0/0", "person0/3", "person1/0"


@pytest.fixture(scope="module")
def config():
    from configs import smoke

    return smoke.get_config().to_dict()


def asked(config, probe, reference, **options):
    own = config["explain_pair"] | {"probe": probe, "reference": reference} | options
    return config | {"explain_pair": own}


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair") / "workdir"
    record = explain_pair.run(asked(config, PROBE, REFERENCE), folder)
    return folder, record


pytestmark = pytest.mark.slow


def test_the_maps_add_up_to_the_cosine(done):
    folder, record = done
    stored = json.loads((folder / "explain_pair" / "record.json").read_text())
    assert stored["cosine"] == record["cosine"]
    assert record["map_sum"] + record["bias"] == pytest.approx(
        record["cosine"], abs=1e-6
    )
    apart = record["distance_sum"] + record["distance_bias"]
    assert apart == pytest.approx(1 - record["cosine"], abs=1e-6)
    for name, total in (("similarity", "map_sum"), ("distance", "distance_sum")):
        parts = sum(part[name] for part in record["parts"].values())
        assert parts == pytest.approx(record[total], abs=1e-6)
    maps = np.load(folder / "explain_pair" / "maps.npz")
    assert maps["similarity"].sum() == pytest.approx(record["map_sum"], abs=1e-6)
    assert maps["reference_fine_distance"].shape == (112, 112)


def test_two_devices_come_to_the_same(config, done, tmp_path):
    folder, record = done
    with jax.set_mesh(sharding.make_mesh(2)):
        found = explain_pair.run(asked(config, PROBE, REFERENCE), tmp_path)
    assert found["cosine"] == pytest.approx(record["cosine"], abs=1e-6)
    maps, others = (
        np.load(x / "explain_pair" / "maps.npz") for x in (folder, tmp_path)
    )
    assert maps.files == others.files
    for name in maps.files:
        np.testing.assert_allclose(others[name], maps[name], atol=1e-6, err_msg=name)


def test_the_score_is_judged_by_other_people_than_the_pairs(config, done):
    folder, record = done
    found = verify.run(config, folder)
    assert record["calibration"]["num_people"] == 5  # of six, without the pair's own
    assert record["threshold"] != found["calibration"]["threshold"]
    ratio = record["likelihood_ratio"]
    assert ratio["lowest"] <= ratio["low"] <= ratio["value"] <= ratio["high"]
    assert ratio["highest"] == pytest.approx(5 * 4 / 2 + 1)
    assert record["rank_of_reference"] in range(1, 7)
    assert len(record["neighbours"]) == 2
    assert record["neighbours"][0]["cosine"] >= record["neighbours"][1]["cosine"]


def test_the_page_has_all_that_a_report_needs(done):
    folder, record = done
    page = (folder / "explain_pair" / "index.html").read_text()
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    for words in (
        "A lead, not an identification",
        "no anatomical comparison",
        "likelihood ratio",
        "not the probability",
        "too few people to measure what it is worth",
        "Quality of the images",
        "Confirmed by",
        "insufficient" if record["insufficient"] else "98 % of the measured images",
        record["protocol"]["checkpoint_sha256"],
        record["images"]["probe"]["sha256"],
        f"{record['cosine']:.3f}",
    ):
        assert words in text, words
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == 15
    assert all(re.findall(r'<img [^>]*alt="([^"]+)"', page))
    assert "http://" not in page and "https://" not in page


def test_another_pairs_report_is_kept_and_the_same_ones_is_replaced(
    config, done, capsys
):
    folder, record = done
    explain_pair.run(asked(config, PROBE, OTHER), folder)
    assert "the report that was in" in capsys.readouterr().out
    [kept] = folder.glob("explain_pair_*")
    before = json.loads((kept / "record.json").read_text())
    assert before["cosine"] == record["cosine"]
    explain_pair.run(asked(config, PROBE, OTHER), folder)
    assert [kept] == list(folder.glob("explain_pair_*"))
    explain_pair.run(asked(config, PROBE, REFERENCE), folder)


def test_a_file_is_an_image_of_nobody_known(config, done, tmp_path):
    folder, record = done
    photograph = tmp_path / "some.png"
    Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (130, 120, 3), dtype=np.uint8)
    ).save(photograph)
    found = explain_pair.run(asked(config, str(photograph), REFERENCE), folder)
    assert found["images"]["probe"]["file"] == str(photograph)
    assert found["calibration"]["num_people"] == 5
    assert found["images"]["probe"]["measures"]["eye_distance"] is None
    assert found["images"]["probe"]["measures"]["sharpness"] > 100


@pytest.mark.parametrize(
    ("probe", "reference", "message"),
    [
        (
            "",
            REFERENCE,
            "^two images are wanted, got 'none' and 'person0/3': --mode=ex",
        ),
        (
            PROBE,
            PROBE,
            "^person0/0 and person0/0 are the same image, .* expected two im",
        ),
        (
            PROBE,
            "nobody/7",
            "^nobody/7 is neither a file nor in the data: .* person0/0$",
        ),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line(
    config, done, probe, reference, message
):
    folder, _ = done
    before = (folder / "explain_pair" / "record.json").read_bytes()
    with pytest.raises(InputError, match=message):
        explain_pair.run(asked(config, probe, reference), folder)
    assert (folder / "explain_pair" / "record.json").read_bytes() == before


def stored_gallery(config, folder, **facts):
    """Write a gallery of five drawn directions, made as this config would make it."""
    model, provenance = embedder.load(config)
    made_with = galleries.made_with(model, provenance | facts, aligned=False)
    names = ("ann", "bea", "cyd", "dan", "person0")
    references = np.random.default_rng(0).normal(size=(5, embedder.DIMENSIONS))
    references = (references.T / np.linalg.norm(references, axis=1)).T
    gallery = Gallery(names, (1,) * 5, references.astype(np.float32), made_with, {})
    rows = [{"name": name, "file": "", "sha256": "", "norm": 1.0} for name in names]
    gallery_files.save(folder, gallery, Enrolled(rows, gallery.references))
    return str(folder)


def test_the_others_may_be_a_gallerys(config, done, tmp_path):
    folder, _ = done
    path = stored_gallery(config, tmp_path / "gallery")
    record = explain_pair.run(asked(config, PROBE, REFERENCE, gallery=path), folder)
    assert record["protocol"]["gallery"] == f"5 people in {path}"
    assert {one["name"] for one in record["neighbours"]} <= {
        *("ann", "bea", "cyd", "dan", "person0")
    }
    assert record["rank_of_reference"] in range(1, 6)


def test_a_gallery_of_another_network_is_refused(config, done, tmp_path):
    folder, _ = done
    other = stored_gallery(config, tmp_path / "other", checkpoint_sha256="f" * 64)
    for path, message in (
        (str(tmp_path), "is no gallery"),
        (other, "was enrolled with something else: the network is of"),
    ):
        with pytest.raises(InputError, match=message):
            explain_pair.run(asked(config, PROBE, REFERENCE, gallery=path), folder)


def test_people_of_whom_no_others_are_known_are_refused(config, tmp_path):
    two = config | {"data": config["data"] | {"num_identities": 2}}
    with pytest.raises(InputError, match="expected at least 6"):
        explain_pair.run(asked(two, PROBE, OTHER), tmp_path / "two")
