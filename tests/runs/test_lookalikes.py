import csv
import functools
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.reports import lookalikes_table
from sdd_jax.runs import blends, lookalikes
from sdd_jax.saliency import METHODS
from sdd_jax.types import Explanation, ImageSet


@pytest.fixture(scope="module")
def done(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alike") / "workdir"
    shutil.copytree(trained, folder)
    lookalikes.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def table(done):
    return json.loads((done / "lookalikes" / "table.json").read_text())


def test_every_ratio_has_every_figure(done, table):
    ratios = {str(ratio) for ratio in blends.RATIOS}
    assert table["ratios"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert set(table["network"]["first"]) == set(table["network"]["second"]) == ratios
    assert set(table["methods"]) == {"sdd", "cam"}
    for found in table["methods"].values():
        for measure in ("flat", "collapsed"):
            assert set(found[measure]) == ratios
            assert all(0 <= one["value"] <= 100 for one in found[measure].values())
        assert all(-1 <= one["value"] <= 1 for one in found["spearman"].values())
    assert len(table["pairs"]) == 2
    people = [pair[which] for pair in table["pairs"] for which in ("first", "second")]
    assert len(set(people)) == 4
    text = (done / "lookalikes" / "table.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["of"] for row in rows} == {"network", "sdd", "cam"}
    assert "SDD" in (done / "lookalikes" / "table.md").read_text()
    assert (done / "lookalikes" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_explains_nothing_and_says_the_same(
    done, table, config, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("what is finished is computed again")

    monkeypatch.setattr(lookalikes, "over_split", refuse)
    assert json.loads(json.dumps(lookalikes.run(config, done))) == table


def test_the_most_similar_come_first_and_nobody_twice():
    means = np.array([[9, 1], [9.2, 1], [1, 8], [1, 9.5], [-20, -19], [np.nan, 0]])
    pairs = blends.most_similar(means, 5)
    assert [pair[:2] for pair in pairs] == [(0, 1), (2, 3)]
    assert pairs[0].cosine >= pairs[1].cosine > 0.9
    assert blends.most_similar(means, 1) == pairs[:1]


def test_too_few_to_choose_from_are_refused():
    with pytest.raises(InputError, match="^2 identities have images: expected"):
        blends.most_similar(np.array([[1.0, 2], [3, 4], [np.nan, 1]]), 1)


def a_set(images, labels):
    names = ("a", "b", "c", "d")
    files = tuple(f"{number}.png" for number in range(len(labels)))
    read = functools.partial(lambda images, place: np.asarray(images[place]), images)
    return ImageSet(names, files, np.array(labels, np.int32), read)


def test_blends_go_from_the_first_face_to_the_second(images):
    found = blends.blends(
        a_set(images, [0, 0, 0, 1, 1, 2, 3, 3]),
        [blends.Pair(0, 1, 0.9), blends.Pair(2, 3, 0.8)],
        num_faces=2,
    )
    # Two faces of the first pair; of the second, c has but one.
    assert len(found.images) == 3 * 11
    assert found.pairs.tolist() == [0] * 22 + [1] * 11
    assert set(found.seconds[:22]) == {1} and set(found.seconds[22:]) == {3}
    assert found.ratios.tolist() == 3 * list(range(11))
    np.testing.assert_array_equal(found.images.read(11), images[1])
    np.testing.assert_array_equal(found.images.read(21), images[4])
    middle = (np.asarray(images[1], float) + np.asarray(images[4])) / 2
    assert np.abs(found.images.read(16) - middle).max() <= 0.5


def twice(classifier, images, method):
    found = blends.Blends(
        a_set(images, [0, 1, 2, 3, 0, 1, 2, 3]),
        np.array([1, 2, 3, 0, 2, 3, 0, 1], np.int32),
        np.zeros(8, np.int32),
        np.zeros(8, np.int32),
    )
    rows = lookalikes.explained_twice(
        classifier, found, method, 0, batch_size=4, stages=False
    )
    return found, rows


def test_each_blend_is_explained_as_either(classifier, images):
    found, rows = twice(classifier, images, METHODS["cam"])
    scores = classifier.feature_maps(images)
    for name, labels in (("first", found.images.labels), ("second", found.seconds)):
        expected = classifier.scores(scores, jnp.asarray(labels)).confidence
        np.testing.assert_allclose(rows[name], expected, rtol=1e-4)
    assert not rows["flat"].any() and not rows["collapsed"].any()
    assert (np.abs(rows["spearman"]) < 0.999).all()


def test_a_method_that_ignores_the_target_gives_the_same_map_twice(classifier, images):
    _, rows = twice(classifier, images, METHODS["sobel"])
    np.testing.assert_allclose(rows["spearman"], 1, atol=1e-5)


def test_flat_maps_of_either_are_counted(classifier, images):
    def flat_for_class_0(model, clean, key):
        maps = METHODS["cam"](model, clean, key).saliency
        return Explanation(jnp.where((clean.targets == 0)[:, None, None], 1.0, maps))

    found, rows = twice(classifier, images, flat_for_class_0)
    expected = np.stack([found.images.labels == 0, found.seconds == 0], axis=1)
    np.testing.assert_array_equal(rows["flat"], expected)
    np.testing.assert_array_equal(rows["collapsed"], expected)


def test_how_much_a_map_varies_is_a_share_of_its_largest_value():
    maps = jnp.array([[[1.0, 0.75]], [[-2.0, 0.0]], [[3.0, 3.0]], [[0.0, 0.0]]])
    np.testing.assert_allclose(lookalikes.varies(maps), [0.25, 1, 0, 0])


def test_collapse_is_told_in_words():
    def row(collapsed, flat=0.0):
        return {
            name: {
                str(ratio): {"value": value}
                for ratio, value in zip((0.0, 0.5), values, strict=True)
            }
            for name, values in (("collapsed", collapsed), ("flat", (flat, flat)))
        }

    result = {
        "ratios": [0.0, 0.5],
        "methods": {
            "sdd": row((0, 75), 2.5),
            "cam": row((0, 0)),
            "fine_cam": row((5, 20)),
        },
    }
    assert lookalikes_table.in_words(result) == [
        "SDD collapses (half of its maps or more) at ratios 0.5; 2.5 % of its maps are "
        "flat.",
        "CAM collapses at no ratio; 0.0 % of its maps are flat.",
        "fine CAM collapses most at ratio 0.5, 20 % of maps; 0.0 % of its maps are "
        "flat.",
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"methods": ("gradcam",)}, "^unknown method 'gradcam'"),
        ({"split": "exam"}, "^lookalikes.split is 'exam', which has no images"),
        (
            {"num_pairs": 1},
            "^lookalikes.num_pairs is 1, expected a whole",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(workdir_copy, make_config, overrides, message):
    settings = {f"lookalikes.{name}": value for name, value in overrides.items()}
    with pytest.raises(InputError, match=message):
        lookalikes.run(make_config(settings), workdir_copy)
    assert not (workdir_copy / "lookalikes").exists()
