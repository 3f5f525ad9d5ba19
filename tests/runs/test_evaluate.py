import json
import logging
import shutil

import jax
import numpy as np
import pytest

from benchmarks.counting import launches
from sdd_jax import checkpoints, sharding
from sdd_jax.errors import InputError
from sdd_jax.runs import evaluate, split_outcomes

METHODS = ["sdd", "cam", "random_map", "random_pixels", "centre"]
METRICS = [
    "confidence_drop",
    "confidence_drop_signed",
    "confidence_drop_points",
    "prediction_change",
]


@pytest.fixture(scope="module")
def evaluated(trained, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "workdir"
    shutil.copytree(trained, folder)
    evaluate.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def result(evaluated):
    return json.loads((evaluated / "eval" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def rows(evaluated):
    return dict(np.load(evaluated / "eval" / "per_sample.npz"))


def test_metrics_have_a_value_and_an_interval_everywhere(result):
    assert list(result["methods"]) == METHODS
    for parts in (result["methods"], result["correctly_classified"]["methods"]):
        for method in METHODS:
            for fill in ("black", "mean"):
                for scheme in ("deletion", "retention"):
                    for metric in METRICS:
                        cell = parts[method][fill][scheme][metric]
                        assert cell["low"] <= cell["value"] + 1e-4
                        assert cell["value"] <= cell["high"] + 1e-4
    assert result["num_images"] == 12
    assert set(result["accuracy"]) == {"value", "low", "high"}


def test_metrics_equal_a_loop_over_the_images(result, rows):
    places = [(m, f, s) for m in range(5) for f in range(2) for s in range(2)]
    for m, f, s in places:
        drops, changes = [], []
        for i in range(12):
            p, q = rows["confidence"][i], rows["masked_confidence"][m, f, s, i]
            drops.append(100 * max(0.0, (p - q) / p))
            changed = rows["masked_prediction"][m, f, s, i] != rows["prediction"][i]
            changes.append(100.0 if changed else 0.0)
        cell = result["methods"][METHODS[m]][("black", "mean")[f]]
        cell = cell[("deletion", "retention")[s]]
        assert cell["confidence_drop"]["value"] == pytest.approx(
            np.mean(drops), rel=1e-5
        )
        assert cell["prediction_change"]["value"] == pytest.approx(np.mean(changes))


def test_the_correctly_classified_are_a_part_of_all(result, rows):
    correct = rows["prediction"] == rows["label"]
    assert result["correctly_classified"]["num_images"] == correct.sum()
    assert result["accuracy"]["value"] == pytest.approx(100 * correct.mean())
    signed = 100 * (1 - rows["masked_confidence"][0, 0, 0] / rows["confidence"])
    cell = result["correctly_classified"]["methods"]["sdd"]["black"]["deletion"]
    assert cell["confidence_drop_signed"]["value"] == pytest.approx(
        signed[correct].mean(), rel=1e-4
    )


def test_differences_are_sdd_minus_the_method(result):
    assert list(result["difference_to_sdd"]) == METHODS[1:]
    for method, fills in result["difference_to_sdd"].items():
        for fill, schemes in fills.items():
            for scheme, cells in schemes.items():
                for metric, cell in cells.items():
                    sdd, other = (
                        result["methods"][name][fill][scheme][metric]["value"]
                        for name in ("sdd", method)
                    )
                    assert cell["value"] == pytest.approx(sdd - other, abs=1e-4)


def test_a_result_tells_its_protocol(result, config):
    protocol = result["protocol"]
    assert protocol["fraction"] == config["eval"]["fraction"]
    assert len(protocol["checkpoint_sha256"]) == 64
    assert {"jax", "flax", "numpy"} <= set(protocol["versions"])
    assert protocol["saliency"]["sdd"]["num_classes_compared"] == 5
    for name in ("split", "target", "rounding", "ties", "fills", "seed", "step"):
        assert name in protocol


def test_rivals_scale_and_amplification_of_every_image_are_kept(rows):
    assert rows["sdd_rivals"].shape == (12, 4)
    assert not (rows["sdd_rivals"] == rows["prediction"][:, None]).any()
    assert (rows["sdd_scale"] >= 4).all() and (rows["sdd_scale"] <= 50).all()
    low, high = np.array([0.2, 0.4], np.float32)
    assert (rows["sdd_amplification"] >= low).all()
    assert (rows["sdd_amplification"] <= high).all()


def test_a_split_is_one_launch_and_one_for_each_method(
    workdir_copy, make_config, caplog
):
    # 12 images in batches of 7: the second is padded.
    config = make_config({"eval.batch_size": 7, "eval.methods": ("sdd", "random_map")})
    with launches() as launched, jax.log_compiles(), caplog.at_level(logging.WARNING):
        evaluate.run(config, workdir_copy)
    compiled = [r for r in caplog.messages if "Finished XLA compilation of" in r]
    # One for the explanations; one for masked images, launched once a method.
    assert sum("jit(program)" in message for message in compiled) == 2
    assert launched == ["program"] * 3


def test_the_batch_size_and_padding_change_nothing(workdir_copy, make_config, rows):
    evaluate.run(make_config({"eval.batch_size": 5}), workdir_copy)
    other = dict(np.load(workdir_copy / "eval" / "per_sample.npz"))
    for name in ("index", "prediction", "masked_prediction", "sdd_rivals"):
        np.testing.assert_array_equal(other[name], rows[name])
    np.testing.assert_allclose(
        other["masked_confidence"], rows["masked_confidence"], rtol=1e-5
    )


def test_eight_devices_give_what_one_gives(workdir_copy, config, rows):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    with jax.set_mesh(sharding.make_mesh(8)):
        evaluate.run(config, workdir_copy)
    other = dict(np.load(workdir_copy / "eval" / "per_sample.npz"))
    for name in ("index", "prediction", "masked_prediction", "sdd_rivals"):
        np.testing.assert_array_equal(other[name], rows[name])
    np.testing.assert_allclose(
        other["masked_confidence"], rows["masked_confidence"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"eval.methods": ("sdd", "gradcam")}, "unknown method 'gradcam'"),
        ({"eval.fills": ("pink",)}, "unknown fill 'pink'"),
        ({"eval.methods": ()}, "the methods are none"),
        ({"eval.methods": ("sdd", "sdd")}, "the methods are sdd, sdd: expected"),
        ({"eval.fills": ()}, "the fills are none"),
        ({"eval.fraction": 1.0}, r"fraction is 1\.0, expected a number between 0"),
        ({"eval.fraction": 0.0}, r"fraction is 0\.0"),
        (
            {"eval.num_resamples": 0},
            "num_resamples is 0, expected a whole number from 40",
        ),
        ({"eval.seed": -1}, "eval.seed is -1, expected a whole number from 0"),
        ({"eval.split": "holdout"}, r"eval\.split is 'holdout'"),
        ({"eval.batch_size": 0}, r"eval\.batch_size is 0"),
        ({"compute_dtype": "float16"}, "compute_dtype is 'float16', expected float32"),
        (
            {"data.num_identities": 4},
            "belongs to another config: data.num_identities is 6",
        ),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    workdir_copy, make_config, override, message
):
    with pytest.raises(InputError, match=message) as error:
        evaluate.run(make_config(override), workdir_copy)
    assert "\n" not in str(error.value)
    assert not (workdir_copy / "eval").exists()


def test_a_workdir_without_a_checkpoint_says_what_to_do(config, tmp_path):
    with pytest.raises(InputError, match=f"no checkpoint in {tmp_path}: train first"):
        evaluate.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_bfloat16_changes_the_figures_little(workdir_copy, make_config, result):
    in_bfloat16 = evaluate.run(make_config({"compute_dtype": "bfloat16"}), workdir_copy)
    assert in_bfloat16["protocol"]["compute_dtype"] == "bfloat16"
    assert result["protocol"]["compute_dtype"] == "as trained"
    values = [
        each["methods"]["sdd"]["black"]["deletion"]["confidence_drop_points"]["value"]
        for each in (in_bfloat16, result)
    ]
    assert values[0] != values[1]
    assert abs(values[0] - values[1]) < 5


def test_an_old_result_outlives_a_failed_evaluation(workdir_copy, config, monkeypatch):
    old = workdir_copy / "eval" / "metrics.json"
    old.parent.mkdir()
    old.write_text("old")

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(evaluate.files, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate.run(config, workdir_copy)
    assert old.read_text() == "old"
    assert [path.name for path in (workdir_copy / "eval").iterdir()] == ["metrics.json"]
    assert not [p for p in workdir_copy.iterdir() if p.name.startswith(".")]


def test_what_is_finished_is_not_computed_again(
    workdir_copy, make_config, capsys, monkeypatch, rows, result
):
    class Stopped(Exception):
        pass

    def save(folder, key, arrays):
        store_save(folder, key, arrays)
        if key["method"] == "cam":
            raise Stopped

    store_save = split_outcomes.store.save
    monkeypatch.setattr(split_outcomes.store, "save", save)
    config = make_config({})
    with pytest.raises(Stopped):
        evaluate.run(config, workdir_copy)
    monkeypatch.undo()
    assert not (workdir_copy / "eval").exists()
    capsys.readouterr()
    with launches() as launched:
        again = evaluate.run(config, workdir_copy)
    assert "finished before: sdd, cam" in capsys.readouterr().out
    assert launched == ["program"] * 4  # the other three, and their explanations
    assert again["methods"] == result["methods"]
    found = dict(np.load(workdir_copy / "eval" / "per_sample.npz"))
    for name, array in rows.items():
        np.testing.assert_array_equal(found[name], array)
    with launches() as launched:
        evaluate.run(make_config({"eval.methods": ("centre", "sdd")}), workdir_copy)
    assert not launched


@pytest.mark.parametrize(
    "override", [{"eval.fraction": 0.3}, {"eval.seed": 1}, {"saliency.sdd.scale": 2.0}]
)
def test_results_of_other_settings_are_not_taken(
    evaluated, make_config, tmp_path, override
):
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    override = override | {"eval.methods": ("sdd",)}
    with launches() as launched:
        evaluate.run(make_config(override), tmp_path)
    assert launched == ["program"] * 2


def test_without_sdd_there_is_nothing_to_compare_with(
    workdir_copy, make_config, capsys
):
    config = make_config({"eval.methods": ("cam", "centre"), "eval.fills": ("black",)})
    result = evaluate.run(config, workdir_copy)
    assert "difference_to_sdd" not in result
    output = capsys.readouterr().out
    assert "Table 1." in output and "written:" in output
    assert "minus" not in output


def test_sdd_alone_has_no_table_of_differences(workdir_copy, make_config, capsys):
    evaluate.run(make_config({"eval.methods": ("sdd",)}), workdir_copy)
    output = capsys.readouterr().out
    assert "written:" in output and "minus" not in output


def test_converted_weights_cannot_be_evaluated(make_config, tmp_path):
    checkpoints.save(tmp_path, 0, {"model": {"a": np.zeros(1)}}, {"model": {}}, 0.0)
    with pytest.raises(InputError, match="converted weights, which know no identities"):
        evaluate.run(make_config({}), tmp_path)
