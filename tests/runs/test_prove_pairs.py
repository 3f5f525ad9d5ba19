import csv
import json

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.pair_curves import FORMULAS
from sdd_jax.reports import prove_pairs_table
from sdd_jax.runs import pair_programs, prove_pairs, verify

METHODS = ("fine_similarity", "fine_distance", "centre")


@pytest.fixture(scope="module")
def done(make_config, tmp_path_factory):
    """Six people, ten drawings each; a random network."""
    folder = tmp_path_factory.mktemp("prove_pairs") / "workdir"
    config = make_config({})
    return prove_pairs.run(config, folder), folder, config


def is_figure(one):
    return one["low"] <= one["value"] <= one["high"]


@pytest.mark.slow
def test_the_file_has_every_figure_under_its_name(done):
    result, folder, _ = done
    stored = json.loads((folder / "prove_pairs" / "table.json").read_text())
    assert stored == json.loads(json.dumps(result))
    assert set(stored["patch_games"]) == {*METHODS, "mean_map"}
    for one in stored["patch_games"].values():
        for name in ("iou", "pointing", "tolerant_pointing", "energy"):
            assert is_figure(one[name]) and 0 <= one[name]["value"] <= 1
    for kind in ("genuine", "impostor"):
        maps = stored["deletion"][kind]
        # Nobody asks a map of differences why two are alike.
        assert set(maps) == {"fine_similarity", "centre", "mean_map"}
        for by_fill in maps.values():
            assert is_figure(by_fill["mean"])
            assert by_fill["mean"].keys() >= FORMULAS.keys() - {"drop"}
    costs = stored["costs"]["fine_distance"]
    assert (costs["forward_passes"], costs["backward_passes"]) == (2, 2)
    # It is costly, and explains the first alone; of pairs nobody asks it.
    assert (costs["num_pairs"], costs["num_games"]) == (0, 3)
    costs = stored["costs"]["centre"]
    assert (costs["num_pairs"], costs["num_games"]) == (6, 4)
    assert -1 <= stored["threshold"] <= 1
    assert len(stored["protocol"]["people"]) == stored["num_people"] == 6


@pytest.mark.slow
def test_the_tables_say_the_same(done):
    result, folder, _ = done
    text = (folder / "prove_pairs" / "table.md").read_text()
    assert "| fine distance |" in text and "Deletion, impostor pairs" in text
    with (folder / "prove_pairs" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    value = {
        (row["part"], row["kind"], row["map"], row["measure"]): float(row["value"])
        for row in rows
    }
    games, deletion = result["patch_games"], result["deletion"]
    assert value["patch_games", "", "centre", "iou"] == games["centre"]["iou"]["value"]
    one = deletion["genuine"]["centre"]["mean"]
    assert value["deletion", "genuine", "centre", "drop"] == one["value"]
    curve = value["deletion", "genuine", "centre", "drop_curve"]
    assert curve == one["drop_curve"]["value"]
    assert len(list(prove_pairs_table.summaries(result))) == 3


@pytest.mark.slow
def test_one_more_method_computes_its_own_maps_alone(done, monkeypatch):
    result, folder, config = done
    asked = []
    known = pair_programs.maps_program

    def watched(graphdef, methods, **options):
        asked.extend(methods)
        return known(graphdef, methods, **options)

    monkeypatch.setattr(pair_programs, "maps_program", watched)
    section = config["prove_pairs"]
    again = prove_pairs.run(config, folder)
    assert not asked and again["patch_games"] == result["patch_games"]
    methods = (*METHODS, "pair_sdd")
    more = config | {"prove_pairs": section | {"methods": methods}}
    found = prove_pairs.run(more, folder)
    assert set(asked) == {"pair_sdd"}
    games = found["patch_games"]
    assert games["centre"] == result["patch_games"]["centre"]


@pytest.mark.slow
def test_the_embeddings_are_those_of_verify(done, monkeypatch):
    _, folder, config = done

    def refuse(*_, **__):
        raise AssertionError("what is finished is computed again")

    monkeypatch.setattr("sdd_jax.runs.embedder.embedded", refuse)
    config = config | {"verify": config["verify"] | {"far": 0.5}}
    assert np.isfinite(verify.run(config, folder)["eer"]["value"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"prove_pairs.methods": ("cam",)},
            "^unknown method 'cam': expected one of sim",
        ),
        ({"prove_pairs.fills": ("red",)}, "^unknown fill 'red': expected one of black"),
        ({"prove_pairs.people": "half"}, "^prove_pairs.people is 'half', expected one"),
        ({"prove_pairs.num_pairs": 0}, "^prove_pairs.num_pairs is 0, expected a whole"),
    ],
)
def test_what_makes_no_sense_is_refused(make_config, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        prove_pairs.run(make_config(overrides), tmp_path / "workdir")
    assert not (tmp_path / "workdir" / "prove_pairs").exists()
