import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.sanity import Similarity
from sdd_jax.faithfulness.sanity_table import method_table

OPTIONS = {"threshold": 0.5, "seed": 0, "num_resamples": 400}
LABELS = np.array([0, 0, 1, 1, 2, 2, 3, 3])


def alike(mean, seed=0, flat=()):
    """Return similarities around a mean; what is flat would spoil any mean."""
    rng = np.random.default_rng(seed)
    values = (mean + rng.uniform(-0.05, 0.05, (2, 8))).astype(np.float32)
    is_flat = np.isin(np.arange(8), flat)
    values[:, is_flat] = 0
    return Similarity(values[0], values[1], is_flat)


def found_with(**changes):
    found = {
        ("cascading", "head"): alike(0.6, 1, flat=[0]),
        ("cascading", "stage1"): alike(0.2, 2, flat=[0, 3]),
        ("independent", "head"): alike(0.6, 3),
        ("independent", "stage1"): alike(0.9, 4),
        ("wrong_class", ""): alike(0.8, 5),
    }
    return found | changes.get("found", {})


def test_means_are_those_of_a_loop_over_maps_that_say_something():
    found = found_with()
    table = method_table(found, LABELS, **OPTIONS)
    for order, layer in found:
        figure = table[order][layer] if layer else table[order]
        one = found[order, layer]
        for metric in ("spearman", "ssim"):
            pairs = zip(getattr(one, metric), one.is_flat, strict=True)
            kept = [value for value, is_flat in pairs if not is_flat]
            value = sum(map(float, kept)) / len(kept)
            assert figure[metric]["value"] == pytest.approx(value, rel=1e-6)
            assert figure[metric]["low"] < value < figure[metric]["high"]
        assert figure["flat_maps"] == one.is_flat.sum()
        assert figure["num_images"] == 8


def test_the_mean_over_layers_is_each_images_of_what_it_has():
    found = found_with()
    table = method_table(found, LABELS, **OPTIONS)
    means = []
    for i in range(8):
        pair = [found["cascading", layer] for layer in ("head", "stage1")]
        own = [float(one.ssim[i]) for one in pair if not one.is_flat[i]]
        if own:
            means.append(sum(own) / len(own))
    mean = table["cascading"]["mean"]
    assert mean["ssim"]["value"] == pytest.approx(sum(means) / 7, rel=1e-6)
    assert mean["flat_maps"] == 1


@pytest.mark.parametrize(
    ("last", "wrong", "network", "of_class"),
    [
        (alike(0.2), alike(0.8), "depends on the network", "does not depend on the cl"),
        # A mean below the threshold is not enough, its interval must be.
        (
            alike(0.49),
            alike(-0.9),
            "cannot be said: from 0.4",
            "depends on the c",
        ),
        (
            alike(0.1, flat=range(4)),
            alike(0.1, flat=range(3)),
            "cannot be said: 4 of 8 maps are flat",
            "depends on the class",
        ),
        (
            alike(0.1, flat=range(8)),
            alike(0.5),
            "cannot be said: 8 of 8 maps are flat",
            "cannot be said: from 0.",
        ),
    ],
)
def test_the_verdict_follows_the_rule(last, wrong, network, of_class):
    changed = {("cascading", "stage1"): last, ("wrong_class", ""): wrong}
    table = method_table(found_with(found=changed), LABELS, **OPTIONS)
    assert table["verdict"]["network"].startswith(network)
    assert table["verdict"]["class"].startswith(of_class)


def test_without_a_single_map_there_is_no_figure():
    changed = {("wrong_class", ""): alike(0.1, flat=range(8))}
    table = method_table(found_with(found=changed), LABELS, **OPTIONS)
    assert table["wrong_class"] == {"flat_maps": 8, "num_images": 8}


def test_without_a_cascade_or_a_wrong_class_there_is_no_verdict():
    found = found_with()
    for missing in (
        [("wrong_class", "")],
        [("cascading", "head"), ("cascading", "stage1")],
    ):
        rest = {name: one for name, one in found.items() if name not in missing}
        with pytest.raises(
            InputError, match="^there are only .* expected at least a ca"
        ):
            method_table(rest, LABELS, **OPTIONS)
