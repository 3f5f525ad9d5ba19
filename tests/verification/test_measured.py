import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.verification import groups, measured
from sdd_jax.verification.held_out import held_out
from sdd_jax.verification.pairs import Pairs, all_pairs, cosines, listed

NAMES = tuple("abcdefgh")
LABELS = np.repeat(np.arange(8), 4)


@pytest.fixture(scope="module")
def pairs():
    return all_pairs(LABELS, NAMES, seed=0)


@pytest.fixture(scope="module")
def scores(pairs):
    rng = np.random.default_rng(0)
    people = rng.normal(size=(8, 16))
    return cosines(people[LABELS] + rng.normal(size=(32, 16)), pairs)


def figures(scores, pairs, **options):
    judged = held_out(scores, pairs, far=0.1)
    return measured.measured(scores, pairs, judged, seed=0, num_resamples=50, **options)


def test_all_pairs_are_each_once_and_folds_are_of_people(pairs):
    assert len(pairs.first) == 32 * 31 // 2
    assert (pairs.first < pairs.second).all()
    assert pairs.is_same.sum() == 8 * 6
    np.testing.assert_array_equal(pairs.people[:, 0], LABELS[pairs.first])
    folds = {(p, f) for p, f in zip(pairs.people.flat, pairs.folds.flat, strict=True)}
    assert len(folds) == 8  # a person is in one fold, two are in each of four
    assert np.bincount([f for _, f in folds]).tolist() == [2, 2, 2, 2]


def test_cosines_are_those_of_embeddings_of_any_length(pairs):
    embeddings = np.random.default_rng(1).normal(size=(32, 3))
    found = cosines(embeddings, pairs)
    a, b = embeddings[pairs.first[7]], embeddings[pairs.second[7]]
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found[7] == pytest.approx(expected)
    np.testing.assert_allclose(cosines(9 * embeddings, pairs), found)


def test_a_pair_is_judged_by_others_alone(scores, pairs):
    before = held_out(scores, pairs, far=0.1)
    odd = pairs.people == 3
    own = odd.any(1)
    [fold] = np.unique(pairs.folds[odd])
    after = held_out(np.where(own, -scores, scores), pairs, far=0.1)
    touches = (pairs.folds == fold).any(1)
    for name in ("thresholds", "logistic", "isotonic"):
        one, other = getattr(before, name), getattr(after, name)
        same = touches & ~own  # judged by those who are as they were
        np.testing.assert_array_equal(one[same], other[same])
    np.testing.assert_array_equal(before.thresholds[own], after.thresholds[own])
    assert (before.thresholds != after.thresholds).any()


def test_every_figure_lies_in_its_interval(scores, pairs):
    found = figures(scores, pairs)
    assert set(found["tar"]) == {"1e-4", "1e-3", "1e-2", "1e-1"}
    names = ("accuracy", "auc", "eer", "cllr", "cllr_min", "cllr_isotonic", "fmr")
    rows = [found[name] for name in (*names, "fnmr")]
    rows += [found["tar"]["1e-2"], found["tar"]["1e-1"]]
    for row in rows:
        assert set(row) == {"value", "low", "high"}
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 100
    assert found["cllr_min"]["value"] <= found["cllr"]["value"] < 1
    assert 80 < found["auc"]["value"] <= 100


def test_a_far_without_enough_impostor_pairs_is_named_and_not_guessed(scores, pairs):
    # 448 impostor pairs.
    assert figures(scores, pairs)["tar"]["1e-3"] == {
        "value": None,
        "low": None,
        "high": None,
        "unsupported": "448 impostor pairs cannot support a FAR of 0.001: at least "
        "3,000 are needed",
    }


def test_an_impostor_pair_counts_as_often_as_both_were_drawn(scores, pairs):
    seen = []
    rows = measured.resampled(
        lambda weights: [seen.append(weights) or 0.0],
        pairs,
        seed=0,
        num_resamples=3,
    )
    assert rows.shape == (3, 1)
    for weights in seen:
        drawn = {
            p: weights[pairs.is_same & (pairs.people[:, 0] == p)][0] for p in range(8)
        }
        assert sum(drawn.values()) == 8
        a, b = pairs.people[5 * 31]
        expected = drawn[a] if a == b else drawn[a] * drawn[b]
        assert weights[5 * 31] == expected


def test_groups_have_rates_of_their_own(scores, pairs, tmp_path, capsys):
    path = tmp_path / "groups.csv"
    path.write_text("a,left\nb,left\nc, right \nd,right\nb/0,right\nz,left\n\n")
    files = [f"{NAMES[label]}/{place % 4}" for place, label in enumerate(LABELS)]
    people = [NAMES[label] for label in LABELS]
    own = groups.labels_of(groups.read(path), files, people, path)
    assert own[:6] == ["left"] * 4 + ["right", "left"]
    assert own[-1] == groups.UNKNOWN
    assert "left out: 1 of 6 names (z)" in capsys.readouterr().out
    found = figures(scores, pairs, groups=groups.members(own, pairs))["groups"]
    assert set(found) == {"left", "right", "unknown"}
    # Seven images of left: six pairs of a, three of b, and twelve of both.
    assert (found["left"]["num_genuine"], found["left"]["num_impostor"]) == (9, 12)
    assert 0 <= found["unknown"]["fmr"]["value"] <= 100


def test_a_group_without_pairs_of_a_kind_has_no_rate(scores, pairs):
    alone = groups.members(["x"] * 4 + ["y"] * 28, pairs)
    found = figures(scores, pairs, groups=alone)["groups"]["x"]
    assert found["fmr"]["value"] is None
    assert found["fmr"]["unsupported"] == "there is no such pair"


def test_groups_that_name_nobody_are_refused(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("x,left\ny,right\n")
    with pytest.raises(InputError, match=r"groups.csv names nobody \(x, y\): expected"):
        groups.labels_of(groups.read(path), ["a/1"], ["a"], path)
    path.write_text("a,left,up\n")
    with pytest.raises(InputError, match="line 1: 'a,left,up'; expected NAME,LABEL"):
        groups.read(path)
    path.write_text("a,left\na,right\n")
    with pytest.raises(InputError, match="line 2: 'a,right'"):
        groups.read(path)
    with pytest.raises(InputError, match="No such file or directory; expected lines"):
        groups.read(tmp_path / "absent.csv")


@pytest.mark.parametrize("num_people", [1, 5])
def test_too_few_people_are_refused(num_people):
    labels = np.repeat(np.arange(num_people), 3)
    message = rf"are of {num_people} people \(a.*\): expected at least 6, so that"
    with pytest.raises(InputError, match=message):
        all_pairs(labels, NAMES, seed=0)


def test_pairs_of_one_kind_or_one_fold_are_refused():
    with pytest.raises(InputError, match="there is no genuine pair among 15: expected"):
        all_pairs(np.arange(6), NAMES, seed=0)
    labels, places = np.array([0, 0, 1]), np.array([0, 1])
    with pytest.raises(InputError, match="the pairs are in one fold, expected two or"):
        listed(places, places + 1, labels, np.zeros(2, int))


def test_too_many_pairs_are_refused_before_they_are_made():
    labels = np.arange(5000) % 10
    with pytest.raises(InputError, match="5000 images make 12,497,500 pairs, expected"):
        all_pairs(labels, tuple("abcdefghij"), seed=0)


def test_without_others_nothing_can_be_chosen(pairs):
    only: Pairs = pairs._replace(
        is_same=pairs.is_same & (pairs.people[:, 0] == pairs.people[0, 0])
    )
    with pytest.raises(InputError, match="no genuine pair is left to choose a thresh"):
        held_out(np.zeros(len(only.first)), only, far=0.1)


def test_what_all_pairs_say_is_kept(scores, pairs):
    found = measured.calibrated(scores, pairs, far=0.01)
    accepted = scores >= found.threshold
    assert 0 < accepted[~pairs.is_same].mean() <= 0.01
    assert found.slope > 0
    assert found.highest == pytest.approx(np.log(28 + 1))
    assert found.lowest == pytest.approx(-np.log(8 + 1))
