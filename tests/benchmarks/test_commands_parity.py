"""The benchmarks that run beside PyTorch: both sides must compute the same."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import command, compare, drawn, torch_baseline
from sdd_jax.faithfulness.curves import curve_grid
from sdd_jax.faithfulness.perturbations import Outcome, counts_of, perturbed_outcomes
from sdd_jax.faithfulness.ranks import ranks
from sdd_jax.saliency import clean_pass

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


def test_compare(monkeypatch, capsys):
    from benchmarks import grad_cam_table

    methods = ("grad_cam", "ablation_cam")
    theirs_of = {name: grad_cam_table.METHODS[name] for name in methods}
    monkeypatch.setattr(compare, "METHODS", methods)
    monkeypatch.setattr(grad_cam_table, "METHODS", theirs_of)
    monkeypatch.setattr(compare, "WANTED", curve_grid(("mean",), (0.5,)))
    arguments = ["--arch=ir_tiny", "--images=3", "--batch_size=8", "--identities=7"]
    assert compare.main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours = result["seconds"]["sdd_jax"]
    assert ours["all"] == pytest.approx(ours["maps"] + ours["curves"])
    assert result["compile_seconds"] > 0
    assert set(result["curves"]["sdd_jax"]) == set(methods)
    theirs = "pytorch-grad-cam"
    assert (result["ratio"] is None) == (theirs not in result["seconds"])
    if not importlib.util.find_spec("pytorch_grad_cam"):
        return
    seconds = result["seconds"][theirs]
    assert sum(seconds[f"maps: {name}"] for name in methods) == pytest.approx(
        seconds["maps"]
    )
    ratio = result["ratio"]["clock"]
    assert ratio["all"] == pytest.approx(seconds["all"] / ours["all"])
    # The ends of the curves, the intact images and the filled ones, know of no map.
    for name in methods:
        for order in ("deletion", "retention"):
            ends = [
                [curves[name][order][place] for place in (0, -1)]
                for curves in result["curves"].values()
            ]
            np.testing.assert_allclose(*ends, rtol=1e-4)


@pytest.mark.parametrize("arch", ["dlib", "ir_tiny"])
def test_the_same_maps_have_the_same_curves_on_both_sides(arch):
    from benchmarks import grad_cam_table

    model = drawn.classifier(arch, "float32", 7)
    pixels = drawn.images(3, size=model.spec.size)
    maps = np.random.default_rng(0).random((2, *pixels.shape[:3]), np.float32)
    wanted = compare.WANTED[1::7] + compare.WANTED[-1:]
    network = grad_cam_table.network_of(model, arch)
    intact, found = grad_cam_table.outcomes(
        network, torch.from_numpy(pixels), list(maps), wanted, batch_size=2
    )

    @jax.jit
    def program(pixels, maps):
        def answer(images, targets):
            scores = model.scores(model.feature_maps(images), targets)
            return Outcome(scores.confidence, scores.decision)

        keys = jax.random.split(jax.random.key(0), len(pixels))
        clean = clean_pass(model, pixels)
        whole = Outcome(clean.scores.confidence, clean.targets)
        counts = counts_of(wanted, *pixels.shape[1:3])
        ranked = jnp.stack([ranks(each, keys, counts=counts) for each in maps])
        return whole, perturbed_outcomes(
            answer, pixels, ranked, clean.targets, keys, intact=whole, wanted=wanted
        )

    expected = program(jnp.asarray(pixels), jnp.asarray(maps))
    for theirs, ours in zip((intact, found), expected, strict=True):
        assert theirs.confidence.shape == ours.confidence.shape
        np.testing.assert_allclose(theirs.confidence, ours.confidence, rtol=2e-3)
        np.testing.assert_array_equal(theirs.decision, ours.decision)
    # Masks did change what the network says.
    assert np.ptp(found.confidence, axis=1).min() > 0.01


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
