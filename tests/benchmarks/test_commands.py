"""Each benchmark runs, and its last line says what it measured."""

import pytest

from benchmarks import drawn, explain_eval
from configs import smoke
from sdd_jax.models import inference
from sdd_jax.runs import train


def test_explain_eval(result_of):
    result = result_of(
        *("explain_eval", "--arch=ir_tiny", "--images=9", "--batch_size=4"),
        *("--repeats=1", "--baseline=none", "--identities=7", "--dtype=bfloat16"),
    )
    assert result["launches"] == result["compilations"] == 1
    # Tiled convolutions save arithmetic: the same maps are 2.02 % of the passes. Some
    # versions of XLA count bfloat16's conversions among the passes, and say less.
    assert 1 < result["flops_ratio"] <= 1.021
    assert result["images_per_second"] > 0
    assert 100 < result["peak_memory_mb"] < 10_000
    assert not result["baseline_images_per_second"]


def test_every_method_adds_its_masked_passes_and_nothing_else():
    trained = drawn.classifier("ir_tiny", "float32", 7)
    # In the form with more arithmetic: a small network's is no match for its maps.
    model = inference.folded(trained, platform="gpu")
    for methods in (("sdd",), ("sdd", "cam", "random_map", "random_pixels", "centre")):
        assert 1 < explain_eval.flops_ratio(model, 2, methods) <= 1.02


@pytest.mark.slow
def test_growth_runs_identities_in_both_ways(result_of, tmp_path):
    plot = tmp_path / "growth.png"
    result = result_of(
        *("growth", "--images=3", "--identities=10,20000", f"--plot={plot}"),
    )
    assert [point["images"] for point in result["images"]] == [3]
    assert [point["launches"] for point in result["images"]] == [1]
    rows = result["identities"]
    assert [(row["identities"], row["way"]) for row in rows] == [
        *((10, "blocked"), (10, "naive"), (20_000, "blocked"), (20_000, "naive")),
    ]
    for row in rows:
        assert row["ms_per_image"] > 0
        assert 0 < row["peak_no_head_mb"] < row["peak_mb"]
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_precision(result_of, tmp_path):
    train.run(smoke.get_config().to_dict(), tmp_path)
    result = result_of("precision", f"--workdir={tmp_path}", "--config=smoke")
    assert result["images"] == 12
    assert 0.5 < result["smallest"] <= result["overlap"] < 1
    values = result["black deletion drop"]
    assert values["float32"] != values["bfloat16"]
    assert abs(values["float32"] - values["bfloat16"]) < 5


def test_convolutions(result_of):
    result = result_of("convolutions", "--images=1", "--repeats=1")
    assert len(result["gflops"]) == len(result["errors"]) + 1
    for name, error in result["errors"].items():
        assert error < (2e-5 if name == "large tiles" else 2e-6)


def test_train_step_without_pytorch(result_of):
    result = result_of(
        *("train_step", "--arch=ir_tiny", "--images=2", "--batch_size=2"),
        *("--sides", "JAX", "--dtype=bfloat16"),
    )
    assert set(result["variants"]) == {
        f"JAX, {what}"
        for what in ("all parameters", "all parameters, remat", "head only")
    }


def test_input_pipeline(result_of):
    result = result_of(
        *("input_pipeline", "--images=40", "--batch_size=8"),
        *("--threads", "1", "2", "--needed=100000"),
    )
    assert len(result["sets"]) == 4
    for figures in result["sets"].values():
        assert set(figures["threads"]) == {"1", "2"}
        one = figures["threads"]["1"]
        assert one["images_per_second"] > 0
        cores = 100_000 * one["cpu_milliseconds_per_image"] / 1000
        assert figures["cores_needed"] - 1 < cores <= figures["cores_needed"]
