"""What is made of a method's maps, besides what the study measures."""

import functools

import jax
import numpy as np
import pytest
from small_options import OPTIONS

from sdd_jax import models, sharding
from sdd_jax.models import inference
from sdd_jax.runs.method_maps import class_sums, forward_passes
from sdd_jax.saliency import CHEAP_METHODS, METHODS, clean_pass
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import ImageSet


@pytest.fixture
def image_set(images):
    names = tuple("abcdefgh")
    labels = np.zeros(8, np.int32)
    return ImageSet(names, names, labels, lambda i: np.asarray(images[i]))


def bound(name):
    return functools.partial(METHODS[name], **OPTIONS.get(name, {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_who_uses_the_stages_is_spared_a_forward_pass(classifier, name):
    plain, kept = (
        forward_passes(classifier, bound(name), 2, stages=stages)
        for stages in (False, True)
    )
    spares = plain - kept > 0.5
    assert spares == (name in USES_STAGES), (plain, kept)


@pytest.mark.slow
def test_the_sums_are_those_of_each_predicted_classs_maps(
    classifier, images, image_set
):
    found = class_sums(classifier, image_set, METHODS["cam"], 0, batch_size=3)
    clean = clean_pass(classifier, images)
    maps = METHODS["cam"](classifier, clean, jax.random.key(0)).saliency
    for target in range(7):
        place = found["places"][target]
        own = np.asarray(clean.targets) == target
        assert found["counts"][place] == own.sum()
        expected = np.asarray(maps)[own].sum(0)
        np.testing.assert_allclose(found["sums"][place], expected, rtol=1e-5, atol=1e-5)
    assert found["counts"].sum() == 8 and found["counts"][-1] == 0


@pytest.mark.parametrize("name", CHEAP_METHODS)
def test_what_is_called_cheap_costs_less_than_ten_passes(classifier, name):
    stages = name in USES_STAGES
    assert forward_passes(classifier, METHODS[name], 2, stages=stages) < 10


def test_costs_are_the_same_on_eight_devices(trained):
    """The folded form divides a batch itself."""
    costs = []
    for number in (1, 8):
        with jax.set_mesh(sharding.make_mesh(number)):
            model = inference.folded(models.load(trained))
            for method in (METHODS["cam"], METHODS["occlusion"]):
                costs.append(forward_passes(model, method, 8))
    assert costs[0] == pytest.approx(1, abs=0.1) and costs[1] > 10
    assert costs[2:] == pytest.approx(costs[:2], rel=0.01)
