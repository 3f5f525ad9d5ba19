import csv
import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images.sources import planted as source
from sdd_jax.models import FaceClassifier
from sdd_jax.runs import found_marks, planted, train
from sdd_jax.saliency import METHODS
from sdd_jax.types import Explanation

DATA: dict[str, Any] = {
    "source": "planted",
    "of": "synthetic",
    "num_pairs": 1,
    "num_fours": 1,
    "num_identities": 8,
    "num_images": 15,
}


@pytest.fixture(scope="module")
def planted_config(make_config):
    return make_config({"data": DATA, "planted.methods": ("cam", "random_map")})


@pytest.fixture(scope="module")
def done(planted_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "workdir"
    train.run(planted_config, folder)
    planted.run(planted_config, folder)
    return folder


@pytest.fixture(scope="module")
def table(done):
    return json.loads((done / "planted" / "table.json").read_text())


@pytest.mark.slow
def test_reliance_has_every_version_kind_and_figure(table):
    versions = table["reliance"]["versions"]
    assert list(versions) == ["marked", "without", "swapped"]
    for found in versions.values():
        for figure in ("names_own", "names_twin", "confidence_own", "confidence_twin"):
            assert set(found[figure]) == {"unique", "shared", "all"}
            for one in found[figure].values():
                assert 0 <= one["low"] <= one["value"] <= one["high"] <= 100
    # Two of six images; three of each of the eight stand in the test.
    assert table["protocol"]["num_images"] == {"unique": 6, "shared": 12, "all": 18}


@pytest.mark.slow
def test_every_method_has_a_row_in_every_file(done, table):
    names = {"cam", "random_map", "mean_map", "cam_less_twin"}
    assert set(table["methods"]) == names
    text = (done / "planted" / "table.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["of"] for row in rows} == names | {"marked", "without", "swapped"}
    markdown = (done / "planted" / "table.md").read_text()
    assert "CAM less the twin's" in markdown and "mark removed" in markdown
    assert (done / "planted" / "marks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_says_the_same(
    done, table, planted_config, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("what is finished is computed again")

    monkeypatch.setattr(found_marks, "over_split", refuse)
    monkeypatch.setattr(found_marks, "class_sums", refuse)
    again = json.loads(json.dumps(planted.run(planted_config, done)))
    assert again == table


@pytest.fixture
def evidence(classifier: FaceClassifier, tmp_path):
    options = {name: value for name, value in DATA.items() if name != "source"}
    options["num_identities"] = 7  # the network's
    plan, splits = source.evidence(image_size=17, seed=0, **options)
    return plan, found_marks.evidence(
        classifier,
        splits["test"],
        plan,
        seed=0,
        batch_size=4,
        results=tmp_path,
        facts={},
    )


@pytest.mark.slow
def test_a_map_that_is_the_mark_finds_all_of_it(evidence):
    _, one = evidence

    marked = one.images["marked"]
    images = np.stack([marked.read(place) for place in range(len(marked))])

    def oracle(model, clean, key):
        same = (clean.images[:, None] == images[None]).all((2, 3, 4))
        return Explanation(1.0 * jnp.asarray(one.masks)[same.argmax(1)])

    found = one.found("oracle", oracle, None)
    for name in ("pointing_game", "energy_inside", "relevance_rank"):
        np.testing.assert_allclose(found[name], 1)
    np.testing.assert_allclose(found["random_value"], one.masks.mean((1, 2)), rtol=1e-6)
    assert not found["is_flat"].any()


@pytest.mark.slow
def test_a_flat_map_is_flagged_whatever_its_value(evidence):
    _, one = evidence

    def nothing(model, clean, key):
        return Explanation(jnp.nan * METHODS["cam"](model, clean, key).saliency)

    assert one.found("nothing", nothing, None)["is_flat"].all()


@pytest.mark.slow
def test_answers_are_those_of_the_label_and_its_twin(evidence, classifier):
    plan, one = evidence
    answers = one.answers()
    for version, image_set in one.images.items():
        images = jnp.stack([image_set.read(i) for i in range(len(image_set))])
        feature_maps = classifier.feature_maps(images)
        own = classifier.scores(feature_maps, jnp.asarray(one.labels))
        twins = jnp.array([plan.twins[int(label)] for label in one.labels])
        twin = classifier.scores(feature_maps, twins)
        found = answers[version]
        np.testing.assert_array_equal(found["prediction"], own.decision)
        np.testing.assert_allclose(found["own"], own.confidence, rtol=1e-4)
        np.testing.assert_allclose(found["twin"], twin.confidence, rtol=1e-4)


def test_only_images_whose_answer_follows_the_mark_count(evidence):
    _, one = evidence
    other = np.full(len(one.labels), 99)
    rows = {
        "marked": {"prediction": one.labels.copy()},
        "swapped": {"prediction": one.twins.copy()},
    }
    assert planted._relies(one, rows).all()
    rows["marked"]["prediction"][0] = 99
    rows["swapped"]["prediction"][1] = 99
    assert np.flatnonzero(~planted._relies(one, rows)).tolist() == [0, 1]
    rows["swapped"]["prediction"] = other
    assert not planted._relies(one, rows).any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data": {"source": "synthetic"}}, "^data.source is 'synthetic', whose"),
        ({"planted.reference": "lime"}, "^planted.reference is 'lime': expected one"),
        ({"planted.mean_map_of": "x"}, "^planted.mean_map_of is 'x': expected one of"),
        ({"planted.methods": ("gradcam",)}, "^unknown method 'gradcam'"),
    ],
)
def test_what_makes_no_sense_is_refused(make_config, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        planted.run(make_config({"data": DATA} | overrides), tmp_path)
    assert not (tmp_path / "planted").exists()
