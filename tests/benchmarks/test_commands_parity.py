"""The benchmarks that run beside PyTorch: both sides must compute the same."""

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import command, torch_baseline

torch = pytest.importorskip("torch", reason="PyTorch's side needs the extra [parity]")

HEAD = "head only"


def test_torch_baseline(result_of):
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


def test_compile_is_asked_of_what_is_written_by_hand(monkeypatch, capsys):
    asked: list[object] = []
    monkeypatch.setattr(command, "require_compiler", lambda: asked.append("compiler"))
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: asked.append(options)
    )
    arguments = ["--arch=ir_tiny", "--images=1", "--batch_size=1", "--repeats=1"]
    assert torch_baseline.main([*arguments, "--compile"]) == 0
    assert asked == ["compiler", {"options": {"freezing": True}}]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["compile"] is True


def test_explain_eval(result_of):
    result = result_of(
        *("explain_eval", "--arch=ir_tiny", "--images=9", "--batch_size=4"),
        *("--repeats=1", "--identities=7"),
    )
    names = {"sdd_jax, not folded", "PyTorch by hand"}
    if importlib.util.find_spec("pytorch_grad_cam"):
        names |= {
            f"pytorch-grad-cam{form}" for form in ("", ", tuned", ", as documented")
        }
    assert set(result["baseline_images_per_second"]) == names
    ours, hand = (
        result["effects"][name]["sdd"] for name in ("sdd_jax", "PyTorch by hand")
    )
    for scheme in ("deletion", "retention"):
        for metric in ("confidence_drop", "prediction_change"):
            assert abs(ours[scheme][metric] - hand[scheme][metric]) < 0.5


def test_train_step(result_of):
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
