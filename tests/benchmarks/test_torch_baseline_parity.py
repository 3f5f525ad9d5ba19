import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import drawn
from sdd_jax.faithfulness import grid, measured, most_salient
from sdd_jax.faithfulness.study import study
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch

torch = pytest.importorskip("torch", reason="the baseline needs the extra [parity]")

from benchmarks import grad_cam_baseline, torch_by_hand, torch_network  # noqa: E402

WANTED = grid(("black",), (0.2,))
NUM_CLASSES, NUM_IMAGES = 20, 6


@pytest.fixture(scope="module")
def images():
    return drawn.images(NUM_IMAGES)


@pytest.fixture(scope="module")
def model():
    return drawn.classifier("ir_tiny", "float32", NUM_CLASSES)


@pytest.fixture(scope="module")
def network(model):
    tensors = torch_network.tensors_of(model)
    return torch_network.load(ARCHITECTURES["ir_tiny"], NUM_CLASSES, tensors)


@pytest.fixture
def folded(network):
    return torch_network.Folded(network, size=drawn.SIZE, dtype=torch.float32)


@pytest.fixture(scope="module")
def ours(model, images):
    """What this project computes for all images in one batch."""
    indices = jnp.arange(NUM_IMAGES)
    batch = Batch(jnp.asarray(images), indices, indices, indices >= 0)
    methods = bind_methods(("sdd",), {})

    @jax.jit
    def program(batch):
        return study(
            model,
            batch,
            methods=methods,
            wanted=WANTED,
            seed=0,
        )

    return jax.tree.map(np.asarray, program(batch))


@pytest.mark.parametrize("is_folded", [False, True])
def test_the_networks_compute_the_same(model, network, folded, images, is_folded):
    maps = model.feature_maps(jnp.asarray(images))
    with torch.inference_mode():
        x = torch_network.normalised(torch.from_numpy(images), torch.float32)
        their = folded if is_folded else network
        their_maps = their.feature_maps(x)
        logits = their.logits(their_maps).numpy()
    their_maps = their_maps.permute(0, 2, 3, 1).numpy()
    assert np.abs(maps - their_maps).max() < 2e-5 * their_maps.std()
    expected = model.logits(maps)
    assert np.asarray(expected).std(0).min() > 0.5  # images are told apart
    np.testing.assert_allclose(logits, expected, atol=2e-4)


def test_an_image_of_another_size_has_its_border_elsewhere(network):
    x = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    folded = torch_network.Folded(network, size=48, dtype=torch.float32)
    with torch.inference_mode():
        difference = folded.feature_maps(x) - network.feature_maps(x)
    assert difference.abs().max() < 1e-5


def test_bfloat16_is_the_same_network_with_fewer_digits(network, folded, images):
    rough = torch_network.Folded(network, size=drawn.SIZE, dtype=torch.bfloat16)
    with torch.inference_mode():
        tensor = torch.from_numpy(images)
        exact = folded(torch_network.normalised(tensor, torch.float32))
        found = rough(torch_network.normalised(tensor, torch.bfloat16))
    assert found.dtype == torch.float32
    error = (found - exact).std() / exact.std()
    # Features that hardly differ between images, standardised, show rounding.
    assert 1e-4 < error < 0.2


def test_its_sdd_masks_are_this_projects_up_to_ties(folded, images, ours):
    with torch.inference_mode():
        x = torch_network.normalised(torch.from_numpy(images), torch.float32)
        maps = folded.feature_maps(x)
        saliency = torch_by_hand.sdd(folded, maps, folded.logits(maps), drawn.SIZE)
        salient = torch_by_hand.most_salient(saliency, 0.2)
    np.testing.assert_allclose(
        saliency, ours["explanations"]["sdd"].saliency, atol=1e-4
    )
    expected = ours["ranks"][0] == 0
    assert (salient.sum((1, 2)).numpy() == expected.sum((1, 2))).all()
    # Rounding decides which pixels are last, where the map is flat.
    assert (salient.numpy() != expected).mean() < 0.005


def test_its_effects_are_this_projects(folded, images, ours):
    found = torch_by_hand.explain_and_evaluate(
        folded, torch.from_numpy(images), batch_size=4
    )
    for place, scheme in enumerate(torch_by_hand.SCHEMES):
        for metric, value in found["sdd"][scheme].items():
            each = WANTED[place]
            values = measured(metric, each, ours["intact"], ours["perturbed"], WANTED)
            expected = values[0].mean()
            assert abs(value - expected) < 0.5, (scheme, metric)
    assert found["random_map"] != found["sdd"]


def test_exactly_a_fifth_is_salient_and_it_is_the_largest():
    saliency = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(0))
    found = torch_by_hand.most_salient(saliency, 0.2).numpy()
    keys = jax.random.split(jax.random.key(0), 3)
    expected = most_salient(jnp.asarray(saliency.numpy()), keys, fraction=0.2)
    np.testing.assert_array_equal(found, expected)


def test_grad_cam_is_cam_and_its_effects_are_those_of_its_masks(folded, model, images):
    if not grad_cam_baseline.can_be_imported():
        pytest.skip(grad_cam_baseline.HOW_TO_GET_IT)
    from pytorch_grad_cam import GradCAM

    tensor = torch.from_numpy(images)
    folded.body[-1].conv2.bias.requires_grad_(True)
    with GradCAM(model=folded, target_layers=[folded.maps]) as grad_cam:
        x = torch_network.normalised(tensor, torch.float32)
        cams = grad_cam(input_tensor=x, targets=None)
    maps = model.feature_maps(jnp.asarray(images))
    classes = model.logits(maps).argmax(1)[:, None]
    cam = np.maximum(model.class_maps(maps, classes)[:, 0], 0)
    cam = torch_by_hand.upsample(torch.from_numpy(np.array(cam)), drawn.SIZE).numpy()
    for ours, theirs in zip(cam, cams, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999

    found = grad_cam_baseline.explain_and_evaluate(folded, tensor, batch_size=4)
    with torch.inference_mode():
        clean = folded(x).softmax(1)
        confidence, prediction = clean.max(1)
        thresholds = np.percentile(cams, 80, axis=(1, 2), keepdims=True)
        kept = torch.from_numpy(cams < thresholds)
        masked = torch_network.normalised(tensor * kept[..., None], torch.float32)
        scores = folded(masked).softmax(1)
        left = scores.gather(1, prediction[:, None])[:, 0]
        drops = (100 * (1 - left / confidence)).clamp(min=0)
        changes = 100.0 * (scores.argmax(1) != prediction)
    deletion = found["grad_cam"]["deletion"]
    np.testing.assert_allclose(deletion["confidence_drop"], drops.mean(), rtol=1e-3)
    np.testing.assert_allclose(deletion["prediction_change"], changes.mean())
    again = grad_cam_baseline.explain_and_evaluate(
        folded, tensor, batch_size=4, return_diff=True
    )
    assert again == found
