import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from sdd_jax import models
from sdd_jax.errors import InputError
from sdd_jax.runs import explain

DRAWN = {
    *("image", "sdd", "cam", "removed", "kept", "removed_mean", "kept_mean"),
}


@pytest.fixture(scope="module")
def explained(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained") / "workdir"
    shutil.copytree(trained, folder)
    explain.run(config, folder)
    return folder / "explain"


@pytest.fixture(scope="module")
def records(explained):
    return [
        json.loads(x)
        for x in (explained / "records.jsonl").read_text().split("\n")[:-1]
    ]


@pytest.fixture(scope="module")
def arrays(explained):
    return dict(np.load(explained / "explanations.npz"))


def test_each_record_tells_who_how_sure_and_who_else(records, arrays, explained):
    assert len(records) == 3
    model = models.load(explained.parent)
    for i, record in enumerate(records):
        logits = model.logits(
            model.feature_maps(jax.numpy.asarray(arrays["image"][i : i + 1]))
        )
        scores = np.asarray(jax.nn.softmax(logits))[0]
        assert record["predicted"] == arrays["names"][scores.argmax()]
        assert record["probability"] == pytest.approx(scores.max(), rel=1e-4)
        assert record["correct"] == (record["label"] == record["predicted"])
        order = np.argsort(-scores)[1:5]
        rivals = [rival["name"] for rival in record["rivals"]]
        assert rivals == arrays["names"][order].tolist()
        rivals = [rival["probability"] for rival in record["rivals"]]
        assert rivals == pytest.approx(scores[order].tolist(), rel=1e-4)
        assert record["methods"] == ["sdd", "cam"]
        assert 4 <= record["scale"] <= 50
        assert 0.2 - 1e-6 <= record["amplification"] <= 0.4 + 1e-6


def test_a_record_flags_maps_that_say_nothing(records, arrays):
    for i, record in enumerate(records):
        assert set(record["is_flat"]) == {"sdd", "cam"}
        for name, flat in record["is_flat"].items():
            assert flat == (np.ptp(arrays[name][i]) == 0)
            assert flat == arrays[f"{name}_is_flat"][i]


def test_outcomes_are_what_masking_did(records, arrays):
    for i, record in enumerate(records):
        for f, fill in enumerate(arrays["fills"]):
            for s, scheme in enumerate(arrays["schemes"]):
                outcome = record["outcomes"][fill][scheme]
                masked = arrays["masked_confidence"][i, f, s]
                drop = 100 * max(0.0, 1 - masked / record["probability"])
                assert outcome["probability"] == pytest.approx(masked)
                assert outcome["confidence_drop"] == pytest.approx(drop, abs=1e-3)
                changed = outcome["predicted"] != record["predicted"]
                assert outcome["prediction_changed"] == changed


def test_the_images_show_what_was_removed_and_what_was_kept(explained, records, arrays):
    size = arrays["salient"].shape[1]
    for i, record in enumerate(records):
        assert set(record["files"]) == DRAWN
        salient, image = arrays["salient"][i], arrays["image"][i]
        assert salient.sum() == round(record["fraction"] * size * size)
        removed = np.array(Image.open(explained / record["files"]["removed"]))
        kept = np.array(Image.open(explained / record["files"]["kept"]))
        np.testing.assert_array_equal(removed, image * ~salient[..., None])
        np.testing.assert_array_equal(kept, image * salient[..., None])


def test_the_manifest_holds_every_file_and_its_hash(explained):
    manifest = json.loads((explained / "manifest.json").read_text())
    files = {path.name for path in explained.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == files
    for name, sha256 in manifest["files"].items():
        content = (explained / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
    assert {"checkpoint_sha256", "config", "versions"} <= set(manifest)


def test_the_page_names_everybody_and_loads_nothing(explained, records):
    html = (explained / "index.html").read_text()
    for record in records:
        assert record["predicted"] in html
        assert record["image"] in html
    assert "data:image/png;base64," in html
    assert 'src="http' not in html and "<script" not in html


def test_the_methods_that_are_asked_for_are_shown_and_the_first_is_tested(
    workdir_copy, make_config, capsys
):
    names = ["score_cam", "centre", "fine_sdd"]
    config = make_config({"explain.methods": names, "explain.num_images": 1})
    explain.run(config, workdir_copy)
    folder = workdir_copy / "explain"
    (record,) = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    assert record["methods"] == names
    assert set(record["files"]) == DRAWN - {"sdd", "cam"} | set(names)
    assert record["rivals"] == [] and record["scale"] is None
    arrays = np.load(folder / "explanations.npz")
    assert "rivals" not in arrays and "cam" not in arrays
    number = arrays["salient"].sum()
    tested = arrays["score_cam"][0]
    assert tested[arrays["salient"][0]].min() == np.sort(tested.ravel())[-number]
    said = capsys.readouterr().out
    assert "score_cam asks the network" in said and "goes faster without" in said
    assert "fine_sdd asks the network" not in said
    html = (folder / "index.html").read_text()
    assert "Score-CAM" in html and "Answer and look-alikes" not in html


def test_any_image_file_is_explained_without_a_truth(
    workdir_copy, make_config, tmp_path
):
    path = tmp_path / "some.jpg"
    Image.effect_noise((300, 200), 80).save(path)
    config = make_config({"explain.images": str(path), "explain.output": "own"})
    explain.run(config, workdir_copy)
    lines = (workdir_copy / "own" / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    assert len(lines) == 1
    assert record["image"] == str(path)
    assert record["label"] is None and record["correct"] is None
    html = (workdir_copy / "own" / "index.html").read_text()
    assert "can only answer with one of the 6 people it knows" in html


def test_explaining_again_replaces_the_old_images(workdir_copy, make_config):
    explain.run(make_config({"explain.num_images": 2}), workdir_copy)
    explain.run(make_config({"explain.num_images": 1}), workdir_copy)
    numbers = {path.name[:4] for path in (workdir_copy / "explain").glob("*.png")}
    assert numbers == {"0000"}


def test_images_asked_for_leave_the_page_of_the_split(
    workdir_copy, make_config, tmp_path, monkeypatch
):
    explain.run(make_config({"explain.num_images": 2}), workdir_copy)
    before = {p.name: p.read_bytes() for p in (workdir_copy / "explain").iterdir()}
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((300, 200), 80).save("some.jpg")
    explain.run(make_config({"explain.images": "some.jpg"}), workdir_copy)
    assert (workdir_copy / "explain_some.jpg" / "index.html").exists()
    after = {p.name: p.read_bytes() for p in (workdir_copy / "explain").iterdir()}
    assert after == before


def test_a_failure_leaves_the_old_explanation_whole(
    workdir_copy, make_config, monkeypatch
):
    config = make_config({"explain.num_images": 1})
    explain.run(config, workdir_copy)
    before = {p.name: p.read_bytes() for p in (workdir_copy / "explain").iterdir()}

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(explain.page, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain.run(config, workdir_copy)
    after = {p.name: p.read_bytes() for p in (workdir_copy / "explain").iterdir()}
    assert after == before
    assert not [p for p in workdir_copy.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"explain.methods": ["cam", "magic"]}, "unknown method 'magic': expected one"),
        ({"explain.methods": ["cam", "cam"]}, "the methods are cam, cam: expected at"),
        ({"explain.fraction": 1.5}, r"fraction is 1\.5, expected a number between"),
        ({"explain.images": "nobody.jpg"}, "no image nobody.jpg: expected a file"),
        ({"explain.split": "holdout"}, r"explain\.split is 'holdout'"),
        ({"explain.batch_size": -8}, r"explain\.batch_size is -8"),
        ({"explain.output": "a/b"}, r"explain\.output is 'a/b', expected the name of"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    workdir_copy, make_config, override, message
):
    with pytest.raises(InputError, match=message) as error:
        explain.run(make_config(override), workdir_copy)
    assert "\n" not in str(error.value)
    assert not (workdir_copy / "explain").exists()


def test_a_workdir_without_a_checkpoint_says_what_to_do(config, tmp_path):
    with pytest.raises(InputError, match=f"no checkpoint in {tmp_path}: train first"):
        explain.run(config, tmp_path)


def test_a_damaged_image_is_named(workdir_copy, make_config, tmp_path):
    path = tmp_path / "torn.png"
    Image.effect_noise((300, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="torn.png"):
        explain.run(make_config({"explain.images": str(path)}), workdir_copy)
    assert not (workdir_copy / "explain").exists()


def test_a_damaged_image_in_a_folder_is_left_out_named_and_listed(
    workdir_copy, make_config, tmp_path, capsys
):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.effect_noise((300, 200), 80).save(folder / "good.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    config = make_config({"explain.images": str(folder), "explain.output": "own"})
    explain.run(config, workdir_copy)
    records = (workdir_copy / "own" / "records.jsonl").read_text().splitlines()
    skipped = (workdir_copy / "own" / "skipped.jsonl").read_text().splitlines()
    assert len(records) == 1
    torn = str(folder / "torn.png")
    assert json.loads(skipped[0])["path"] == torn
    assert f"files left out: 1 ({torn}), see " in capsys.readouterr().out
