"""Everything on one GPU in one command, rehearsed without one."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from benchmarks import identities, on_gpu
from benchmarks.gpu import explain_eval, kernels, pytorch, report, training, yardsticks
from sdd_jax.models.ir_resnet import ARCHITECTURES

ROOT = Path(__file__).parents[2]
STEPS = ["tests", "metrics", "explain_eval", "training", "pytorch", "kernels"]
CPU = {"platform": "cpu", "kind": "cpu", "jax": "0"}


def python(code):
    return (sys.executable, "-c", code)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return the exit status of given steps, and what was written of them."""

    def run(*steps):
        monkeypatch.setattr(on_gpu, "find_device", lambda *given: CPU)
        monkeypatch.setattr(on_gpu, "plan", lambda options: list(steps))
        status = on_gpu.main(["--rehearse", f"--out={tmp_path}"])
        return status, json.loads((tmp_path / "on_gpu.json").read_text())["steps"]

    return run


def test_a_step_that_fails_or_hangs_does_not_stop_the_rest(run, capsys, tmp_path):
    row = 'import time; print(\'{"left_out": "nothing"}\', flush=True)'
    status, steps = run(
        on_gpu.Step("tests", 60, (python("raise ValueError('no such kernel')"),)),
        on_gpu.Step("kernels", 60, (python("import sys; sys.exit(3)"),)),
        on_gpu.Step("training", 60, (python("print('{no row')"),)),
        on_gpu.Step("pytorch", 60, (python(row),)),
    )
    assert status == 1
    found = [(step["outcome"], step["last_line"]) for step in steps.values()]
    assert found == [
        ("failed", "ValueError: no such kernel"),
        ("failed", "it printed nothing"),
        ("done", ""),
        ("left out", "nothing"),
    ]
    printed = capsys.readouterr()
    assert "**failed**: ValueError: no such kernel |" in printed.out
    assert (tmp_path / "on_gpu.md").read_text() in printed.out
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: failed: tests, kernels; the table says")


def test_what_is_cut_off_keeps_its_rows(run):
    row = '{"name": "a", "seconds": 1.0, "share": 0.5, "bound": "unknown"}'
    hangs = f"import time; print('{row}', flush=True); time.sleep(60)"
    status, steps = run(on_gpu.Step("kernels", 2, (python(hangs),)))
    assert status == 1
    assert steps["kernels"]["rows"] == [json.loads(row)]
    assert steps["kernels"]["last_line"].startswith("cut off after 2 s; before: it pri")


def test_a_step_may_use_the_time_that_those_before_it_left(run):
    does_nothing = (python("pass"),)
    _, steps = run(
        on_gpu.Step("training", 50, does_nothing),
        on_gpu.Step("kernels", 50, does_nothing),
    )
    assert 90 < steps["kernels"]["limit_seconds"] < 100


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(on_gpu, "find_device", lambda *given: CPU)
    assert on_gpu.main([f"--out={tmp_path / 'a'}"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: JAX computes on cpu, which is no GPU: expected")
    assert message.count("\n") == 1
    assert not list((tmp_path / "a").glob("*.json"))


@pytest.mark.parametrize("rehearse", [False, True])
def test_all_steps_take_ten_minutes_at_most(rehearse):
    steps = on_gpu.plan(argparse.Namespace(rehearse=rehearse, workdir="runs/orl"))
    assert [step.name for step in steps] == STEPS
    assert sum(step.seconds for step in steps) + 30 <= 600


def test_a_kernel_is_bound_by_the_slower_of_arithmetic_and_memory():
    # An H200 does 989 / 4.8 = 206 bfloat16 operations while a byte is moved.
    h200 = "NVIDIA H200"
    assert yardsticks.bound(h200, "bfloat16", 207.0, 1.0) == "arithmetic"
    assert yardsticks.bound(h200, "bfloat16", 205.0, 1.0) == "memory"
    assert yardsticks.bound(h200, "float32", 205.0, 1.0) == "arithmetic"
    assert yardsticks.bound(h200, "bfloat16", 0.0, 1.0) == "unknown"
    assert yardsticks.bound("cpu", "bfloat16", 205.0, 1.0) == "unknown"
    assert yardsticks.peak("cpu", "float32") is None


def test_kernels_are_those_of_the_streams_once_each():
    def event(name, duration, **stats):
        return SimpleNamespace(name=name, duration_ns=duration, stats=stats.items())

    def line(name, *events):
        return SimpleNamespace(name=name, events=events)

    conv = event("conv", 3e9, flops=300, bytes_accessed=1)
    planes = [
        SimpleNamespace(
            name="/device:GPU:0",
            lines=[
                line("Stream #13", conv, event("add", 2e9), conv),
                line("XLA Ops", event("conv.1", 9e9)),
            ],
        ),
        SimpleNamespace(name="/host:CPU", lines=[line("python", event("f", 9e9))]),
    ]
    found = kernels.summed(kernels.events_of(planes), "NVIDIA H200", "bfloat16")
    assert [(row["name"], row["launches"]) for row in found] == [
        ("conv", 2),
        ("add", 1),
    ]
    assert [row["seconds"] for row in found] == [6.0, 2.0]
    assert [row["share"] for row in found] == [0.75, 0.25]
    assert [row["bound"] for row in found] == ["arithmetic", "unknown"]


def test_the_largest_difference_of_a_metric_is_over_all_that_end_in_it():
    here = {"sdd/deletion/drop": 5.0, "sdd/retention/drop": 7.0, "accuracy": 9.0}
    there = here | {"sdd/deletion/drop": 4.0, "sdd/retention/drop": 7.5}
    rows: list[dict[str, Any]]
    rows = [{"network": "a", "values": values} for values in (here, there)]
    assert report.largest_differences(rows) == {"drop": 1.0, "accuracy": 0.0}
    assert report.largest_differences(rows[:1]) == {}
    rows[1]["network"] = "b"
    assert report.largest_differences(rows) == {}


def test_operations_are_those_of_the_convolutions_and_little_else():
    model = identities.random_model("ir_tiny", "float32", 7)
    # Two a tap on the image: what falls on the border of zeros is not counted.
    size, inputs = 112, 8
    expected = 2 * (3 * size - 2) ** 2 * 3 * inputs
    for _, outputs in ARCHITECTURES["ir_tiny"]:
        expected += 2 * (3 * size - 2) ** 2 * inputs * outputs
        size //= 2
        expected += 2 * (3 * size - 1) ** 2 * outputs * outputs
        expected += 2 * size**2 * inputs * outputs * (inputs != outputs)
        inputs = outputs
    assert 1 < explain_eval.flops_of_a_pass(model) / expected < 1.05


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    def measure(arch, dtype, batch_size, num_steps):
        if batch_size > 20:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        if batch_size == 1:
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")
        return {"batch_size": batch_size}

    monkeypatch.setattr(training, "measure", measure)
    assert training.largest_that_fits("ir_101", "float32", 64, 1)["batch_size"] == 16
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        training.largest_that_fits("ir_101", "float32", 1, 1)


def test_without_pytorch_its_step_is_left_out(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pytorch.main([]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == {"left_out": "PyTorch is not installed"}


@pytest.mark.slow
def test_a_rehearsal_does_every_step(environment, tmp_path):
    done = subprocess.run(
        ["benchmarks/on_gpu.sh", "--rehearse"],
        cwd=ROOT,
        env=environment | {"OUT": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "on_gpu.json").read_text())
    assert found["rehearsal"] and found["device"]["platform"] == "cpu"
    steps = found["steps"]
    assert list(steps) == STEPS
    outcomes = {name: step["outcome"] for name, step in steps.items()}
    assert outcomes.pop("pytorch") in ("done", "left out")
    assert set(outcomes.values()) == {"done"}
    assert "passed" in steps["tests"]["rows"][0]["last_line"]
    # One platform twice: it computes the same twice.
    assert steps["metrics"]["largest_differences"] == {
        "confidence_drop": 0.0,
        "prediction_change": 0.0,
    }
    explained = steps["explain_eval"]["rows"]
    assert [row["dtype"] for row in explained] == ["bfloat16", "float32"]
    for row in explained:
        assert (row["launches"], row["images"]) == (3, 8)
        assert row["flops_per_image"] == pytest.approx(5 * 33.9e6, rel=0.01)
        assert row["images_per_second"] > 0 < row["device_images_per_second"]
        seconds = row["seconds_for_all"] * row["images_per_second"]
        assert seconds == pytest.approx(4496)  # in batches of 4
        assert row["share_of_peak"] is None
    trained = steps["training"]["rows"]
    assert [row["dtype"] for row in trained] == ["bfloat16", "float32"]
    total, *longest = steps["kernels"]["rows"]
    assert len(longest) == 10 < total["kernels"]
    seconds = [row["seconds"] for row in longest]
    assert seconds == sorted(seconds, reverse=True)
    table = (tmp_path / "on_gpu.md").read_text()
    assert table in done.stdout
    for name in STEPS:
        assert f"| {name.replace('_', ' ')} | " in table
