import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.ablation_cam import ablation_cam
from sdd_jax.saliency.class_maps import upsample

TARGETS = np.arange(8) % 7
KEY = jax.random.key(0)


@pytest.fixture(params=["one stage", "two stages"])
def model(request, classifier, staged):
    return classifier if request.param == "one stage" else staged


def assert_close(found, maps, cells):
    expected = np.asarray(upsample(jnp.asarray(maps, jnp.float32), (17, 17), cells))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("relu", [True, False])
def test_with_pooling_and_a_linear_layer_a_channel_loses_its_mean_times_its_weight(
    model, images, relu
):
    clean = clean_pass(model, images, jnp.asarray(TARGETS))
    features = np.asarray(clean.feature_maps, np.float64)
    weights = np.asarray(model.head.class_weights, np.float64)[:, TARGETS].T
    pooled = features.mean((1, 2))
    values = (pooled * weights).sum(1) + np.asarray(model.head.bias)[TARGETS]
    assert (values < 0).any() and (values > 0).any()
    lost = pooled * weights / np.abs(values)[:, None]
    maps = np.einsum("bhwk,bk->bhw", features, lost)
    found = ablation_cam(model, clean, KEY, relu=relu).saliency
    assert_close(found, np.maximum(maps, 0) if relu else maps, model.cells)


def test_at_another_stage_the_rest_of_the_network_is_asked_again(staged, images):
    clean = clean_pass(staged, images, jnp.asarray(TARGETS))
    _, activations = staged.with_taps(images, {"first": jnp.zeros(())})
    first = activations["first"]

    def values(activations):
        logits = staged.logits(staged.backbone.run(1, 2, activations))
        return np.asarray(logits, np.float64)[np.arange(8), TARGETS]

    intact = values(first)
    maps = np.zeros((8, 4, 4))
    for channel in range(first.shape[3]):
        lost = intact - values(first.at[..., channel].set(0))
        weight = lost / np.abs(intact)
        maps += weight[:, None, None] * np.asarray(first)[..., channel]
    found = ablation_cam(staged, clean, KEY, stage="first").saliency
    assert_close(found, np.maximum(maps, 0), staged.stages[0].cells)


def test_the_last_stage_has_a_name_too(staged, images):
    clean = clean_pass(staged, images, jnp.asarray(TARGETS))
    np.testing.assert_array_equal(
        ablation_cam(staged, clean, KEY, stage="last").saliency,
        ablation_cam(staged, clean, KEY).saliency,
    )


def test_an_unknown_stage_is_refused(staged, images):
    clean = clean_pass(staged, images, jnp.asarray(TARGETS))
    with pytest.raises(InputError, match="^unknown stage 'x': .* first, last$"):
        ablation_cam(staged, clean, KEY, stage="x")
