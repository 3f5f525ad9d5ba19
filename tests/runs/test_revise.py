import io
import json
import shutil

import numpy as np
import pytest
from marked_people import MARKED_PEOPLE
from PIL import Image
from rich.console import Console

from sdd_jax import checkpoints
from sdd_jax.errors import InputError
from sdd_jax.reports import revise_table
from sdd_jax.runs import forbidden, relied_regions, revise, setup, train

SHORTCUT = MARKED_PEOPLE | {
    "train.steps": 2,
    "train.validate_every": 2,
}


@pytest.fixture(scope="module")
def begun(make_config, tmp_path_factory):
    """Return a config, a workdir in which clusters were found, and the result."""
    config = make_config(SHORTCUT)
    folder = tmp_path_factory.mktemp("revise") / "workdir"
    train.run(config, folder)
    return config, folder, revise.run(config, folder)


@pytest.mark.slow
def test_clusters_are_found_shown_and_can_be_forbidden(begun):
    config, folder, result = begun
    found = result["clusters"]
    assert [cluster["number"] for cluster in found] == [1, 2, 3]
    number = sum(cluster["num_images"] for cluster in found)
    assert number + result["num_without_region"] == 36
    lost = [cluster["lost_an_image"] for cluster in found]
    assert lost == sorted(lost, reverse=True)
    for cluster in found:
        mean = cluster["lost_a_region"] * cluster["num_images"] / 36
        assert cluster["lost_an_image"] == pytest.approx(mean)
    page = (folder / "revise" / "index.html").read_text()
    assert str(folder / "forbid.txt") in page and "Before and after" not in page
    for cluster in found:
        assert f"Cluster {cluster['number']}:" in page
    shown = list((folder / "revise" / "images").iterdir())
    assert 3 <= len(shown) <= 6
    table = json.loads((folder / "revise" / "table.json").read_text())
    assert table["forbidden"] == [] and len(table["clusters"]) == 3
    assert (folder / "revise" / "table.md").exists()
    assert (folder / "forbid.txt").read_text().startswith("# The numbers of clusters")


@pytest.mark.slow
def test_what_is_forbidden_is_trained_on_and_shown_before_and_after(
    begun, tmp_path, monkeypatch, capfd
):
    config, folder, first = begun
    folder = shutil.copytree(folder, tmp_path / "workdir")
    (folder / "forbid.txt").write_text("# marks\n2 # this one\n\n1\n")
    result = revise.run(config, folder)
    assert (
        result["forbidden"] == [1, 2] and "Before and after" in capfd.readouterr().out
    )
    assert [x["is_forbidden"] for x in result["clusters"]] == [True, True, False]
    numbers = result["num_test_images"]
    assert numbers["all"] == numbers["forbidden"] + numbers["others"]
    for network in ("before", "control", "after"):
        for name in ("accuracy", "confidence", "energy"):
            assert 0 <= result["methods"][network][name]["all"]["value"] <= 100
        assert set(result["marks"][network]) == set(revise.shortcut.VERSIONS)
    (place,) = (folder / "revised").iterdir()
    for network in ("control", "after"):
        assert checkpoints.latest_step(place / network) == config["revise"]["steps"]
    assert result["reference"] == "control" and "after" in result["differences"]
    masks = list((place / "masks").rglob("*.png"))
    in_two = [c["num_images"] for c in first["clusters"][:2]]
    assert len(masks) == sum(in_two)
    shares = [np.mean(np.asarray(Image.open(x).convert("L")) > 0) for x in masks]
    assert 0 < min(shares) and max(shares) <= config["revise"]["fraction"] + 1e-3
    page = (folder / "revise" / "index.html").read_text()
    assert "told not to lean on clusters 1, 2" in page
    assert "accuracy, mark removed" in page and "change: after less control" in page
    file = io.StringIO()
    Console(file=file, width=80).print(revise_table.before_and_after(result))
    lines = file.getvalue().splitlines()
    for words in ("accuracy, all", "accuracy, forbidden", "accuracy, mark"):
        assert any(words in line for line in lines)
    weights = [
        json.loads((place / name / "config.json").read_text())["train"]["guidance"]
        for name in ("control", "after")
    ]
    assert [x["cam_energy"] for x in weights] == [0, config["revise"]["weight"]]
    monkeypatch.setattr(train, "_train", None)  # calling it would fail
    again = revise.run(config, folder)
    assert again["methods"] == result["methods"]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["4", "0", "two", "-1", "1 2", "²", "9" * 5000])
def test_what_is_no_cluster_is_refused_by_its_line(begun, tmp_path, text):
    config, folder, _ = begun
    folder = shutil.copytree(folder, tmp_path / "workdir")
    (folder / "forbid.txt").write_text(f"# one\n{text}\n")
    with pytest.raises(
        InputError,
        match=r"forbid\.txt says .* in line 2: expected the number .* 1 to 3",
    ):
        revise.run(config, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"revise.num_clusters": 2}, "revise.num_clusters was 3; to see"),
        ({"revise.fraction": 0.3}, r"revise.fraction was [\d.]+; to see"),
        ({"revise.method": "cam"}, "revise.method was 'sdd', the method's"),
        (
            {"train.guidance.erase": 1.0},
            "train.guidance.erase is 0.0 there and 1.0 now",
        ),
    ],
)
def test_numbers_are_of_the_page_and_the_training_goes_on(
    begun, make_config, tmp_path, changed, message
):
    _, folder, _ = begun
    folder = shutil.copytree(folder, tmp_path / "workdir")
    page = (folder / "revise" / "index.html").read_text()
    (folder / "forbid.txt").write_text("1\n")
    with pytest.raises(InputError, match=message):
        revise.run(make_config(SHORTCUT | changed), folder)
    assert (folder / "revise" / "index.html").read_text() == page
    assert not (folder / "revised").exists()


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_page_is_refused(tmp_path, content):
    (tmp_path / "revise").mkdir()
    (tmp_path / "revise" / "table.json").write_text(content)
    with pytest.raises(InputError, match=r"table\.json is damaged .*: remove "):
        forbidden.check_page(tmp_path, {"seed": 0})


@pytest.mark.slow
def test_what_was_forbidden_before_stays_forbidden(make_config, tmp_path):
    config = make_config(SHORTCUT | {"train.guidance.cam_energy": 1.0})
    splits = setup.load_splits(config, tmp_path)
    masks = np.zeros((len(splits["train"]), *splits["train"].read(0).shape[:2]), bool)
    masks[:, 0, 0] = True
    found = forbidden.with_own(config, masks, splits["train"])
    own = np.stack([splits["train"].region(i) for i in range(len(masks))])
    assert own.any() and not own[:, 0, 0].all()
    np.testing.assert_array_equal(found, masks | own)
    inside = make_config(
        SHORTCUT | {"train.guidance.cam_energy": 1.0, "train.guidance.inside": True}
    )
    with pytest.raises(
        InputError, match="inside=True says where the network must look"
    ):
        forbidden.with_own(inside, masks, splits["train"])
    plain = make_config(SHORTCUT)
    np.testing.assert_array_equal(
        forbidden.with_own(plain, masks, splits["train"]), masks
    )


@pytest.mark.parametrize(
    ("term", "why"), [("erase", "looks at no region"), ("energy", "is no term")]
)
def test_a_term_that_looks_at_no_region_is_refused(make_config, tmp_path, term, why):
    with pytest.raises(InputError, match=f"revise.term is '{term}', which {why}"):
        revise.run(make_config({"revise.term": term}), tmp_path)


def test_a_file_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "forbid.txt").write_bytes("1\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"forbid\.txt is no UTF-8 text: save it"):
        forbidden.numbers(tmp_path, 3)


def rows(places, colours, lost):
    lost = np.asarray(lost, np.float32)
    return {
        "masks": np.ones((len(lost), 2, 2), bool),
        "place": np.asarray(places, np.float32),
        "colour": np.asarray(colours, np.float32),
        "confidence": np.ones_like(lost),
        "filled_confidence": 1 - lost,
    }


def test_regions_are_alike_by_place_and_by_colour_and_the_strongest_come_first():
    places = [[0.2, 0.2]] * 4 + [[0.8, 0.8]] * 2
    colours = [[0, 0, 0]] * 2 + [[0.9, -0.5, 0]] * 2 + [[0, 0, 0]] * 2
    found = relied_regions.clustered(
        rows(places, colours, [0.1, 0.1, 0.5, 0.5, 0.3, 0.3]), 3
    )
    np.testing.assert_array_equal(found.numbers, [3, 3, 1, 1, 2, 2])
    near = rows(
        [[0.21, 0.2], [0.7, 0.8], [0.7, 0.8]], [[0.8, -0.4, 0], *[[0] * 3] * 2], [0] * 3
    )
    near["masks"][2] = False  # a map that says nothing
    np.testing.assert_array_equal(found.nearest(near), [1, 2, 0])


def test_maps_that_say_nothing_are_in_no_cluster():
    some = rows([[0.2, 0.2], [0.8, 0.8], [0, 0]], [[0] * 3] * 3, [0.1, 0.5, 0.9])
    some["masks"][2] = False
    np.testing.assert_array_equal(relied_regions.clustered(some, 8).numbers, [2, 1, 0])
    some["masks"][:] = False
    with pytest.raises(InputError, match="the maps of all 3 images say nothing"):
        relied_regions.clustered(some, 8)


def test_a_region_is_the_largest_part_that_hangs_together():
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]], bool)
    empty = np.zeros_like(mask)
    expected = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]], bool)
    found = relied_regions.largest_parts(np.stack([mask, empty]))
    np.testing.assert_array_equal(found, [expected, empty])


def test_one_region_is_one_cluster_and_fewer_than_asked_for_are_one_each():
    one = rows([[0.5, 0.5]], [[0, 0, 0]], [0.2])
    np.testing.assert_array_equal(relied_regions.clustered(one, 8).numbers, [1])
    two = rows([[0.1, 0.5], [0.9, 0.5]], [[0, 0, 0]] * 2, [0.2, 0.4])
    np.testing.assert_array_equal(relied_regions.clustered(two, 8).numbers, [2, 1])
