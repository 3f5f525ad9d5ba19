"""Each benchmark runs, and its last line says what it measured."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import drawn, explain_eval
from configs import smoke
from sdd_jax.models import folding
from sdd_jax.runs import train

HEAD = "head only"
ROOT = Path(__file__).parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="PyTorch's side needs the extra [parity]"
)


def grad_cam_baseline_is_there() -> bool:
    return importlib.util.find_spec("pytorch_grad_cam") is not None


def result_of(name: str, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_torch
def test_torch_baseline():
    result = result_of(
        *("torch_baseline", "--arch=ir_tiny", "--images=4"),
        *("--batch_size=2", "--repeats=1"),
    )
    rates, effects = result["images_per_second"], result["effects"]
    assert rates["PyTorch by hand"] > 0
    assert set(effects["PyTorch by hand"]) == {"sdd", "random_map"}
    # Left out, with its figures, where it is not installed.
    theirs = effects["pytorch-grad-cam"]
    assert (theirs is None) == (rates["pytorch-grad-cam"] is None)
    assert theirs is None or set(theirs) == {"grad_cam", "random_map"}
    assert result["batch_size"] == 2 and result["dtype"] == "float32"


@pytest.mark.parametrize("baseline", ["none", pytest.param("all", marks=needs_torch)])
def test_explain_eval(baseline):
    result = result_of(
        *("explain_eval", "--arch=ir_tiny", "--images=9", "--batch_size=4"),
        *("--repeats=1", f"--baseline={baseline}", "--identities=7"),
        f"--dtype={'bfloat16' if baseline == 'none' else 'float32'}",
    )
    assert result["launches"] == result["compilations"] == 1
    assert 1 < result["flops_ratio"] <= 1.02
    assert result["images_per_second"] > 0
    assert 100 < result["peak_memory_mb"] < 10_000
    theirs = result["baseline_images_per_second"]
    names = {"PyTorch by hand"} if baseline == "all" else set()
    if grad_cam_baseline_is_there() and baseline == "all":
        names |= {"pytorch-grad-cam", "pytorch-grad-cam, tuned"}
    assert set(theirs) == names
    if baseline == "all":
        ours, hand = (
            result["effects"][name]["sdd"] for name in ("sdd_jax", "PyTorch by hand")
        )
        for scheme in ("deletion", "retention"):
            for metric in ("confidence_drop", "prediction_change"):
                assert abs(ours[scheme][metric] - hand[scheme][metric]) < 0.5


def test_every_method_adds_its_masked_passes_and_nothing_else():
    trained = drawn.classifier("ir_tiny", "float32", 7)
    # In the form with more arithmetic: a small network's is no match for its maps.
    model = folding.folded(trained, platform="gpu")
    for methods in (("sdd",), ("sdd", "cam", "random_map", "random_pixels", "centre")):
        assert 1 < explain_eval.flops_ratio(model, 2, methods) <= 1.02


@pytest.mark.slow
def test_growth(tmp_path):
    plot = tmp_path / "growth.png"
    result = result_of("growth", "--images=3,5", "--identities=10,20", f"--plot={plot}")
    assert [point["images"] for point in result["images"]] == [3, 5]
    assert [point["launches"] for point in result["images"]] == [1, 1]
    assert [row["identities"] for row in result["identities"]] == [10, 10, 20, 20]
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_precision(tmp_path):
    train.run(smoke.get_config().to_dict(), tmp_path)
    result = result_of("precision", f"--workdir={tmp_path}", "--config=smoke")
    assert result["images"] == 12
    assert 0.5 < result["smallest"] <= result["overlap"] < 1
    values = result["black deletion drop"]
    assert values["float32"] != values["bfloat16"]
    assert abs(values["float32"] - values["bfloat16"]) < 5


def test_convolutions():
    result = result_of("convolutions", "--images=1", "--repeats=1")
    assert len(result["gflops"]) == len(result["errors"]) + 1
    for name, error in result["errors"].items():
        assert error < (2e-5 if name == "large tiles" else 2e-6)


@needs_torch
def test_train_step():
    result = result_of(
        *("train_step", "--arch=ir_tiny", "--images=4", "--batch_size=2"),
    )
    variants = result["variants"]
    assert len(variants) == 6
    for name, figures in variants.items():
        assert figures["images_per_second"] > 0
        assert figures["peak_memory_mb"] > 100
        assert (figures["features_seconds"] is not None) == ("head only" in name)
        assert len(figures["losses"]) == 2
        if name.startswith("JAX"):
            # The second loss is that of the parameters the first step left.
            theirs = variants[name.replace("JAX", "PyTorch")]["losses"]
            np.testing.assert_allclose(figures["losses"], theirs, rtol=1e-3)
    # Training has changed something, and not the same thing everywhere.
    losses = [variants[f"JAX, {what}"]["losses"] for what in ("all parameters", HEAD)]
    assert abs(losses[0][1] - losses[1][1]) > 1e-3


def test_train_step_without_pytorch():
    result = result_of(
        *("train_step", "--arch=ir_tiny", "--images=2", "--batch_size=2"),
        *("--sides", "JAX", "--dtype=bfloat16"),
    )
    assert set(result["variants"]) == {
        f"JAX, {what}"
        for what in ("all parameters", "all parameters, remat", "head only")
    }


def test_input_pipeline():
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
