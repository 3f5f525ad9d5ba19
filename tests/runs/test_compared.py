"""What a method gives in a comparison, beside the same by other means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax import keys, sharding
from sdd_jax.faithfulness import Outcome, grid
from sdd_jax.faithfulness.curves import curve_grid
from sdd_jax.faithfulness.map_measures import gini
from sdd_jax.faithfulness.sensitivity import max_sensitivity
from sdd_jax.faithfulness.specificity import specificity
from sdd_jax.faithfulness.study import method_keys, study
from sdd_jax.images import SOURCES
from sdd_jax.models import classifier as models
from sdd_jax.runs import compare_programs
from sdd_jax.runs.compared import Comparison
from sdd_jax.saliency import METHODS, clean_pass
from sdd_jax.saliency.controls import of_wrong_class
from sdd_jax.types import Batch

OPTIONS = {
    "seed": 3,
    "batch_size": 4,
    "curves": ("mean",),
    "fills": ("black",),
    "fraction": 0.2,
    "costly": 50.0,
    "num_costly": 2,
    "num_squares": 3,
    "num_shifts": 2,
}
WANTED = curve_grid(("mean",), (0.2, 0.5)) + grid(("black",), (0.2,))


@pytest.fixture(scope="module")
def image_set():
    """Six images: the second batch is not full."""
    sets = SOURCES["synthetic"](image_size=17, seed=0, num_identities=6, num_images=5)
    assert len(sets["test"]) == 6
    return sets["test"]


def compared_on(model, image_set, folder, **changes):
    options = OPTIONS | changes
    return Comparison(
        model=model,
        image_set=image_set,
        shown=(1, 5),
        options=options,
        wanted=WANTED,
        results=folder,
        facts={},
        programs=compare_programs.shared(model, options, WANTED),
    )


@pytest.fixture
def comparison(classifier, image_set, tmp_path):
    return compared_on(classifier, image_set, tmp_path)


@pytest.fixture(scope="module")
def batch(image_set):
    images = jnp.stack([jnp.asarray(image_set.read(i)) for i in range(6)])
    return Batch(images, None, jnp.arange(6), jnp.ones(6, bool))


@pytest.mark.slow
def test_it_is_what_a_study_of_all_images_at_once_gives(comparison, batch, classifier):
    found = comparison.method("cam", METHODS["cam"], None)
    methods = {"own": METHODS["cam"], "other": of_wrong_class(METHODS["cam"])}
    how = dict(methods=methods, wanted=WANTED, seed=3)
    expected = jax.jit(functools.partial(study, classifier, **how))(batch)
    for got, wanted in zip(found.outcome, expected["perturbed"], strict=True):
        np.testing.assert_allclose(got, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(
        found.intact.confidence, expected["intact"].confidence, rtol=1e-5
    )
    maps = expected["explanations"]["own"].saliency
    values = found.measured.values
    np.testing.assert_allclose(values["gini", "all"], gini(maps), rtol=1e-4)
    outcomes = expected["perturbed"]
    own, other = (Outcome(*(row[i] for row in outcomes)) for i in (0, 1))
    gain = specificity("mean", expected["intact"], own, other, WANTED)
    assert np.abs(gain).max() > 1e-3
    np.testing.assert_allclose(values["specificity", "mean"], gain, atol=1e-3)
    scaled = maps - maps.min((1, 2), keepdims=True)
    scaled = scaled / scaled.max((1, 2), keepdims=True)
    np.testing.assert_allclose(found.maps, scaled[np.array([1, 5])], atol=1e-3)
    assert found.images_per_second > 0 and found.num_flat == 0


@pytest.mark.slow
def test_sensitivity_is_the_largest_change_over_the_draws(
    comparison, batch, classifier
):
    found = comparison.method("cam", METHODS["cam"], None)
    drawn, _ = method_keys(3, batch.indices)
    targets = clean_pass(classifier, batch.images).targets

    def explain(images):
        clean = clean_pass(classifier, images, targets)
        return METHODS["cam"](classifier, clean, drawn).saliency

    key = jax.random.fold_in(jax.random.key(3), 4)
    expected = max_sensitivity(
        explain, batch.images, keys.for_indices(key, batch.indices), num_draws=2
    )
    values = found.measured.values["max_sensitivity", "all"]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_costly_method_explains_the_first_images_and_no_shifted_ones(comparison):
    found = comparison.method("occlusion", METHODS["occlusion"], None)
    assert found.forward_passes > 50
    assert found.intact.confidence.shape == (2,) and len(found.maps) == 1
    assert ("max_sensitivity", "all") not in found.measured.values
    assert found.images_per_second > 0


@pytest.mark.slow
def test_who_looks_at_no_target_is_explained_once_and_timed(comparison):
    found = comparison.method("centre", METHODS["centre"], None)
    assert found.images_per_second > 0
    np.testing.assert_array_equal(found.measured.values["specificity", "mean"], 0)


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(classifier, image_set, tmp_path):
    found = []
    for number in (1, 8):
        with jax.set_mesh(sharding.make_mesh(number)):
            model = models.placed(classifier)
            comparison = compared_on(model, image_set, tmp_path, batch_size=8)
            found.append(comparison.method("cam", METHODS["cam"], None))
    one, eight = found
    assert one.measured.values.keys() == eight.measured.values.keys()
    for column, values in one.measured.values.items():
        np.testing.assert_allclose(
            eight.measured.values[column], values, rtol=1e-3, atol=1e-3
        )
    np.testing.assert_allclose(eight.maps, one.maps, atol=2e-3)
    # The second was not taken from the first one's results.
    assert len(list(tmp_path.iterdir())) == 4
